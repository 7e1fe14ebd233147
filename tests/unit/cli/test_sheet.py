"""Tables at any width, without colour, in a pipe."""

import pytest

from holdfast.cli.sheet import GREEN, Sheet

HEAD = ("VM", "STATE", "NOTE")
ROWS = [
    ("web-1", "running", "a note that is longer than what is left of the line"),
    ("db", "stopped", ""),
]


def test_in_a_pipe_tabs_stand_between() -> None:
    assert Sheet().lines(HEAD, ROWS) == ["\t".join(row) for row in ROWS]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = Sheet(width=width).lines(HEAD, ROWS)
    assert max(map(len, lines)) <= width
    assert lines[0] == "VM     STATE    NOTE"
    assert lines[1].startswith("web-1  running  a note that is")
    assert lines[2] == "db     stopped"


def test_the_widest_cells_are_cut_and_none_to_nothing() -> None:
    assert Sheet(width=10).lines(HEAD, ROWS)[1] == "web-1  running  a not..."
    wide = [("a" * 50, "b", "c" * 50)]
    assert Sheet(width=40).lines(HEAD, wide)[1] == f"{'a' * 13}...  b      {'c' * 12}..."


def test_a_colour_is_a_whole_lines() -> None:
    painted = Sheet(width=80, colour=True).lines(HEAD, ROWS, [GREEN, ""])
    assert painted[1].startswith("\x1b[32mweb-1 ")
    assert painted[1].endswith("\x1b[0m")
    assert painted[2] == "db     stopped"
    assert "\x1b" not in "".join(Sheet(width=80).lines(HEAD, ROWS, [GREEN, ""]))


@pytest.mark.parametrize("width", [0, 80])
def test_nothing_in_a_cell_moves_the_terminal(width: int) -> None:
    found = Sheet(width=width).lines(HEAD, [("a\tb", "c\nd", "\x1b[31mred")])[-1]
    assert "\\tb" in found
    assert "\\nd" in found
    assert "\\x1b[31m" in found
