"""The documents: links that lead somewhere, lines that keep a VM's disks, rows that name keys."""

import re
from pathlib import Path

import pytest

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
