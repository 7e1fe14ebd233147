"""The product's image holds all that a VM needs although much was cut away, and tells what it is."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import testinfra
from container import IMAGE, docker

pytestmark = pytest.mark.image


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return dict(json.loads(docker("image", "inspect", IMAGE))[0]["Config"])


@pytest.fixture(scope="module")
def image() -> Iterator[Any]:
    container = docker("run", "--detach", "--init", "--entrypoint=sleep", IMAGE, "600").strip()
    try:
        yield testinfra.get_host(f"docker://{container}")
    finally:
        docker("rm", "--force", container)


def test_no_library_misses_another(image: Any) -> None:
    found = image.run(
        r"find / -xdev -type f \( -perm /111 -o -name '*.so*' \) -exec ldd {} + 2>/dev/null"
        " | grep 'not found'"
    )
    assert found.stdout == ""


def test_dpkg_knows_what_is_there(image: Any) -> None:
    """Scanners read dpkg's status: what was cut away is not in it, what is there is."""
    assert image.package("qemu-system-x86").is_installed
    assert image.package("librbd1").is_installed
    for package in ("libllvm19", "mesa-libgallium", "perl-base", "apt"):
        assert not image.package(package).is_installed
    assert image.file("/usr/share/doc/qemu-system-x86/copyright").exists


def test_the_list_of_packages_is_dpkgs(image: Any) -> None:
    listed = image.file("/usr/lib/holdfast/packages.tsv").content_string.splitlines()
    found = image.run(
        "dpkg-query --show --showformat='${Package}\\t${Version}\\t${Architecture}\\n'"
    )
    assert len(listed) > 100
    assert sorted(listed) == sorted(found.stdout.splitlines())


ARCHIVED = """
import sys
sys.path.append("/usr/lib/python3/dist-packages")
from holdfast import precompiled
precompiled.use()
import holdfast.launcher.run, holdfast.launcher.standby, holdfast.launcher.owned, holdfast.etcd.gateway, holdfast.instance.supervisor
before = ("holdfast", "holdfast.precompiled")
ours = [name for name in sys.modules if name.startswith("holdfast") and name not in before]
read = [name for name in ours if not isinstance(sys.modules[name].__loader__, precompiled.Archive)]
print(len(ours) > 100, read)
"""


def test_a_start_finds_everything_compiled(image: Any) -> None:
    assert image.check_output("python3 -ISB -c %s", ARCHIVED) == "True []"


def test_a_traceback_still_shows_the_source(image: Any) -> None:
    wrong = (
        "import sys; sys.path.append('/usr/lib/python3/dist-packages')\n"
        "from holdfast import precompiled; precompiled.use()\n"
        "from holdfast.config import settings; settings.parse(1, host_toml=2, options=3)"
    )
    said = image.run("python3 -ISB -c %s", wrong).stderr
    assert re.search(r'File "\S+/holdfast/[\w/]+\.py", line \d+, in \w+\n    \w', said), said


@pytest.mark.parametrize(
    "device", ["qxl-vga", "virtio-vga", "virtio-gpu-pci", "usb-host", "virtio-net-pci", "pvpanic"]
)
def test_qemu_has_the_device(image: Any, device: str) -> None:
    assert f'name "{device}"' in image.check_output("qemu-system-x86_64 -device help")


def test_spice_and_qxl_start(image: Any) -> None:
    said = image.check_output(
        'printf \'{"execute": "qmp_capabilities"} {"execute": "query-spice"} {"execute": "quit"}\''
        " | qemu-system-x86_64 -nodefaults -machine q35,accel=tcg -S -display none -qmp stdio"
        " -spice unix=on,addr=/tmp/spice,disable-ticketing=on -device qxl-vga"
    )
    assert '"enabled": true' in said


def test_the_rbd_driver_loads_and_looks_for_a_cluster(image: Any) -> None:
    tried = image.run("qemu-img info rbd:pool/image")
    assert tried.rc != 0
    assert "error connecting" in tried.stderr


@pytest.mark.parametrize(
    "path",
    [
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
        "/usr/bin/swtpm",
        "/usr/lib/qemu/qemu-bridge-helper",
        "/usr/bin/setpriv",
        "/usr/bin/prlimit",
        "/usr/bin/zstd",
        "/usr/lib/x86_64-linux-gnu/libnftables.so.1",
        "/usr/lib/holdfast/host.toml",
        "/var/lib/holdfast/cache",
        "/var/lib/holdfast/images",
        "/var/lib/holdfast/pool",
    ],
)
def test_a_vm_finds(image: Any, path: str) -> None:
    assert image.file(path).exists


def test_no_file_lends_rights(image: Any) -> None:
    """Neither setuid nor a file capability: a guest that breaks out of QEMU finds no step up."""
    assert image.check_output(r"find / -xdev -type f \( -perm -4000 -o -perm -2000 \)") == ""
    capable = image.check_output(
        "python3 -c \"import os; print([p for d, _, fs in os.walk('/usr') for f in fs"
        " if not os.path.islink(p := os.path.join(d, f)) and 'security.capability' in os.listxattr(p)])\""
    )
    assert capable == "[]"


def test_the_pool_is_roots_alone(image: Any) -> None:
    """A named volume takes its mode from here."""
    assert image.file("/var/lib/holdfast/pool").mode == 0o700


@pytest.mark.parametrize(
    "module", ["etcd3", "jinja2", "pycdlib", "pyroute2", "rados", "rbd", "yaml"]
)
def test_python_has(image: Any, module: str) -> None:
    image.check_output("python3 -IB -c 'import %s'", module)


def test_tls_has_authorities_to_trust(image: Any) -> None:
    count = image.check_output(
        "python3 -c 'import ssl; print(ssl.create_default_context().cert_store_stats()[\"x509_ca\"])'"
    )
    assert int(count) > 100


def test_the_launcher_is_compiled(image: Any) -> None:
    folder = "/usr/lib/python3/dist-packages/holdfast"
    assert image.file(f"{folder}/__pycache__/__main__.cpython-313.pyc").exists


def test_it_tells_what_it_is(config: dict[str, Any]) -> None:
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "Holdfast"
    version = labels["org.opencontainers.image.version"]
    assert docker("run", "--rm", IMAGE, "version") == f"holdfast {version}\n"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["holdfast"]
    assert not config.get("Volumes")


def test_health_is_a_fresh_sign_of_life(image: Any, config: dict[str, Any]) -> None:
    kind, *command = config["Healthcheck"]["Test"]
    assert kind == "CMD"

    def healthy() -> bool:
        return bool(image.run(" ".join(["%s"] * len(command)), *command).rc == 0)

    assert not healthy()
    image.check_output("touch /run/holdfast/health")
    assert healthy()
    image.check_output("touch -d '2 minutes ago' /run/holdfast/health")
    assert not healthy()
