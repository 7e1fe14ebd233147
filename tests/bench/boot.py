"""A guest whose first instruction is seen at once: a boot sector that writes to the serial port."""

from pathlib import Path

FIRST = b"guest runs\r\n"
_LOAD = 0x7C00  # where a BIOS puts it
# A letter at a time to COM1, then the processor sleeps for good: an idle guest costs its host nothing.
_CODE = bytes.fromhex(
    "31c0"  # xor ax, ax
    "8ed8"  # mov ds, ax
    "baf803"  # mov dx, 0x3f8
    "be167c"  # mov si, text
    "ac"  # next: lodsb
    "84c0"  # test al, al
    "7403"  # jz sleep
    "ee"  # out dx, al
    "ebf8"  # jmp next
    "fa"  # sleep: cli
    "f4"  # hlt
    "ebfd"  # jmp hlt
)
SIZE = 1 << 20  # of a disk


def sector() -> bytes:
    assert _LOAD + len(_CODE) == int.from_bytes(_CODE[8:10], "little"), "the text is elsewhere"
    return (_CODE + FIRST + b"\0").ljust(510, b"\0") + b"\x55\xaa"


def disk(path: Path) -> Path:
    with path.open("wb") as file:
        file.write(sector())
        file.truncate(SIZE)
    return path
