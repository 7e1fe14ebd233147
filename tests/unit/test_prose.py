"""Prose of the documents is at most a hundred columns wide."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATTERNS = ("README.md", "CONTRIBUTING.md", "docs/*.md", "tests/**/README.md")
DOCUMENTS = [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))]
WIDEST = 100
FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
GENERATED = re.compile(r"<!-- table: .*?<!-- end of table -->", re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")
TABLE_OR_URL = re.compile(r" *\||\s*(?:- )?<?https?://\S+$")


def wide(text: str) -> list[str]:
    for kind in (FENCED, GENERATED, INDENTED):
        text = kind.sub("", text)
    return [
        line for line in text.splitlines() if len(line) > WIDEST and not TABLE_OR_URL.match(line)
    ]


def test_prose_is_narrow() -> None:
    assert len(DOCUMENTS) > 10
    found = {path.name: wide(path.read_text(encoding="utf-8")) for path in DOCUMENTS}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_wide_line_is_found() -> None:
    line = "word " * 21
    assert wide(f"{line}\n- {line}\n  {line}") == [line, f"- {line}", f"  {line}"]
    assert wide(f"| {line} |\n```sh\n{line}\n```\n\n    {line}\n") == []
