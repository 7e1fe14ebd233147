"""Tables of a few columns: aligned on a terminal, with tabs between for programs.

Thirty lines in place of python3-rich, whose import costs a command 60 ms and the image 1.1 MB: what is wanted of it
is alignment and one colour a line.
"""

from collections.abc import Iterable, Sequence

from holdfast.dataclass import dataclass

GAP = "  "
LEAST = 8  # columns that a cell keeps on a narrow terminal
RED, YELLOW, GREEN, DIM = "31", "33", "32", "2"


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Where a table is shown. `width` 0: not on a terminal."""

    width: int = 0
    colour: bool = False

    def painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colour and colour else text

    def lines(
        self, head: Sequence[str], rows: Iterable[Sequence[str]], colours: Iterable[str] = ()
    ) -> list[str]:
        """`colours` are of the rows. Where a terminal is too narrow, the widest cells are cut."""
        cells = [list(map(_on_one_line, row)) for row in rows]
        if not self.width:
            return ["\t".join(row) for row in cells]
        widths = self._fitting(
            [max(map(len, column)) for column in zip(head, *cells, strict=True)]
        )
        body = [_aligned(row, widths) for row in cells]
        painted = [*colours] or [""] * len(body)
        return [_aligned(head, widths), *map(self.painted, body, painted)]

    def _fitting(self, widths: list[int]) -> list[int]:
        while sum(widths) + len(GAP) * (len(widths) - 1) > self.width and max(widths) > LEAST:
            widest = max(range(len(widths)), key=lambda place: (widths[place], place))
            widths[widest] -= 1
        return widths


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(
        _cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)
    ).rstrip()


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else f"{cell[: width - 3]}..."


def _on_one_line(cell: str) -> str:
    r"""What stands in it was written by others.

    >>> _on_one_line("a\tb")
    'a\\tb'
    """
    if cell.isprintable():
        return cell
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in cell)


def age(seconds: float) -> str:
    """In its largest unit.

    >>> age(5), age(100), age(7300), age(200000), age(-3)
    ('5s', '1m', '2h', '2d', '0s')
    """
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit:
            return f"{int(seconds // unit)}{name}"
    return f"{max(0, int(seconds))}s"
