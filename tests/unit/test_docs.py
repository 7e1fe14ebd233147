"""The documents: links that lead somewhere, lines that keep a VM's disks, rows that name keys."""

import re
from pathlib import Path

import pytest

from holdfast import keys
from holdfast.policy import host_config, pool

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.md")]
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", flags=re.DOTALL | re.MULTILINE)
POOL = "-v holdfast-pool:/var/lib/holdfast/pool"


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.*)$", FENCED.sub("", text(path)), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.replace(" ", "-") for head in plain}


def test_there_are_documents() -> None:
    assert {"README.md", "operations.md", "from-nomad.md"} <= {path.name for path in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(document: Path) -> None:
    dead = []
    for link in LINK.findall(FENCED.sub("", text(document))):
        place, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", place):
            continue
        target = document.parent / place if place else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def starts(document: str) -> list[str]:
    """Commands that start a VM's container, their continued lines joined."""
    joined = document.replace("\\\n", " ")
    runs = re.findall(r"^ *(docker run [^\n]*)", joined, flags=re.MULTILINE)
    return [
        run for run in runs if re.search(r" holdfast *$", run) and "etcd" not in run.split()[-1]
    ]


def test_each_line_that_starts_a_vm_keeps_its_disks() -> None:
    """`docker rm` would delete them with the container, unless they are in Ceph."""
    found = [run for path in DOCUMENTS for run in starts(text(path))]
    assert len(found) >= 5
    assert [run for run in found if POOL not in run and "/etc/ceph" not in run] == []
    assert [run for run in starts(text(ROOT / "README.md")) if POOL not in run] == []


TEST = re.compile(r"\b((?:\w+/)*test_\w+\.py)(?:::(test_\w+))?")
TESTS = [path.relative_to(ROOT) for path in ROOT.glob("tests/**/test_*.py")]


def named(document: Path) -> list[tuple[list[Path], str]]:
    """The files that each name of a test may mean, and the function."""
    names = TEST.findall(text(document))
    return [
        ([path for path in TESTS if f"/{path}".endswith(f"/{name}")], one) for name, one in names
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_test_that_a_document_names_is_there(document: Path) -> None:
    for files, function in named(document):
        assert files, TEST.findall(text(document))
        assert not function or any(f"def {function}" in text(ROOT / path) for path in files)


def test_what_security_rests_on_is_one_test_each() -> None:
    found = named(ROOT / "docs" / "security.md")
    assert len(found) > 50
    assert [files for files, _ in found if len(files) > 1] == []


# -- docs/from-nomad.md

# Every option that the three drivers have: 2015's, today's `qemu`, and nomad-driver-virt with its plugin's own.
OPTIONS = """
image_source checksum accelerator host_port guest_ports
image_path emulator machine_type accelerator drive_interface graceful_shutdown guest_agent args port_map
image_paths args_allowlist emulators_allowlist
artifact artifact.options.checksum network.dns user kill_timeout kill_signal env volume_mount
resources.memory resources.memory_max resources.cores resources.cpu
driver.qemu driver.qemu.version driver.qemu.emulators driver.virt
provider uri password allow_insecure_readonly_mounts data_dir use_thin_copy primary_disk_size
storage_pools.default storage_pools.directory storage_pools.ceph path pool hosts
storage_pools.ceph.authentication username secret
hostname os.arch os.machine cmds default_user_password default_user_authorized_ssh_key user_data timezone image
disk.kind disk.bus_type disk.devname disk.driver disk.pool disk.format disk.size disk.sparse disk.chained
disk.primary disk.read_only disk.source.image disk.source.volume disk.source.format disk.volume
network_interface.bridge.name network_interface.bridge.ports
network_interface.macvtap.device network_interface.macvtap.mode
"""


def rows() -> list[list[str]]:
    """The cells of all tables: theirs, ours, what differs."""
    lines = text(ROOT / "docs" / "from-nomad.md").splitlines()
    cells = [
        re.split(r" *\| *", line.strip("|").strip()) for line in lines if line.startswith("|")
    ]
    return [row for row in cells if row[0] not in ("theirs", "---")]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_each_option_of_nomads_drivers_has_a_row() -> None:
    theirs = {word for row in rows() for word in quoted(row[0])}
    assert set(OPTIONS.split()) - theirs == set()


def test_each_row_of_nomads_names_what_there_is() -> None:
    assert all(len(row) == 3 for row in rows())
    pools = {name for kind in pool.NAMES.values() for name in kind}
    for _, ours, differs in rows():
        known = (
            pools | set(host_config.NAMES) if "host.toml" in ours else {*keys.KEYS, *keys.WRITTEN}
        )
        assert not [word for word in quoted(ours) if word not in known], ours
        assert quoted(ours) or (ours == "-" and differs), "not ours: but why?"


def test_what_is_said_of_keys_exists() -> None:
    """Anywhere in the page: a key that was renamed leaves no ghost."""
    named = re.findall(r"`((?:disks|nics|shares)/[^`]*)`", text(ROOT / "docs" / "from-nomad.md"))
    assert named
    assert [name for name in named if not keys.find(name)] == []
