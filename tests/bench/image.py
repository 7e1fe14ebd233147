"""How large the product's image is, and whose files they are."""

import json
import subprocess
from typing import Any

# Runs in the image: what its packages really have on disk, since parts of them are left out.
OWNERS = """
import json, os
sizes, seen = {}, set()
info = "/var/lib/dpkg/info/"
for name in sorted(os.listdir(info)):
    if name.endswith(".list"):
        package = name[:-5].split(":")[0]
        for path in open(info + name, encoding="utf-8").read().splitlines():
            real = os.path.realpath(path)
            if os.path.isfile(path) and not os.path.islink(path) and real not in seen:
                seen.add(real)
                sizes[package] = sizes.get(package, 0) + os.path.getsize(path)
ours, rest = 0, 0
for top, folders, files in os.walk("/"):
    folders[:] = [one for one in folders if os.path.join(top, one) not in ("/proc", "/sys", "/dev")]
    for one in files:
        path = os.path.join(top, one)
        if not os.path.islink(path) and os.path.realpath(path) not in seen:
            if "/holdfast" in path:
                ours += os.path.getsize(path)
            else:
                rest += os.path.getsize(path)
print(json.dumps({**sizes, "holdfast": ours, "made at build time (bytecode, caches)": rest}))
"""


def measure() -> dict[str, Any]:
    """MB, as registries count them."""
    command = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        "--entrypoint=python3",
        "holdfast",
        "-c",
        OWNERS,
    ]
    sizes = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    inspect = ["docker", "image", "inspect", "--format={{.Size}}", "holdfast"]
    unpacked = int(subprocess.run(inspect, capture_output=True, check=True).stdout)
    return {
        "compressed": compressed() / 1e6,
        "unpacked": unpacked / 1e6,
        "packages": {name: size / 1e6 for name, size in sizes.items()},
    }


def compressed() -> int:
    saved = subprocess.Popen(["docker", "save", "holdfast:latest"], stdout=subprocess.PIPE)
    packed = subprocess.Popen(["gzip", "-6"], stdin=saved.stdout, stdout=subprocess.PIPE)
    assert packed.stdout
    size = 0
    while data := packed.stdout.read(1 << 20):
        size += len(data)
    assert saved.wait() == packed.wait() == 0
    return size
