"""What a file is by its first bytes, where somebody wants to use it as a raw disk. No limit to what raw may
hold: only what is plainly something else is told.
"""

HEAD = 4096  # bytes to look at
LEAST = 1024**2  # bytes; no system is smaller

IMAGES = {
    b"KDMV": "vmdk", b"COWD": "vmdk", b"# Disk Descriptor": "vmdk", b"vhdxfile": "vhdx",
    b"conectix": "vpc", b"QED\0": "qed", b"WithoutFreeSpace": "parallels",
    b"WithouFreSpacExt": "parallels", b"Bochs Virtual HD": "bochs", b"EVF\t\r\n": "ewf",
}  # fmt: skip
VDI, VDI_PLACE = b"\x7f\x10\xda\xbe", 64
ARCHIVES = {
    b"PK\3\4": "zip", b"PK\5\6": "zip", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\7": "rar",
    b"MSCF": "cab", b"MSWIM\0": "wim", b"xar!": "xar", b"070701": "cpio", b"070707": "cpio",
}  # fmt: skip
TAR, TAR_PLACE = b"ustar", 257
PACKED = {
    b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4", b"\x1f\x9d": "compress", b"LZIP": "lzip",
}  # fmt: skip
OTHERS = {
    b"!<arch>\n": "a Debian package or an ar archive", b"\xed\xab\xee\xdb": "an RPM package",
    b"\x7fELF": "a program", b"%PDF-": "a PDF", b"ANDROID!": "an Android boot image",
    b"\x3a\xff\x26\xed": "an Android sparse image", b"partclone-image": "a partclone image",
}  # fmt: skip
UTF16 = (b"\xff\xfe", b"\xfe\xff")
BLANKS = frozenset(b"\t\n\f\r")
SHOWN = 24


def unfit(head: bytes) -> str:
    """Say why it is no raw disk, or "". `head` are the first HEAD bytes, or all of them."""
    if kind := image(head):
        return f"is a {kind} image: convert it to qcow2 or raw with qemu-img"
    if kind := archive(head):
        return f"is a {kind} archive, and no disk"
    if kind := _named(head, PACKED):
        return f"is packed with {kind}, and no disk: unpack it"
    if kind := _named(head, OTHERS):
        return f"is {kind}, and no disk"
    if is_text(head):
        return f"is text, and no disk: it begins with {head[:SHOWN].decode(errors='replace')!r}"
    return ""


def image(head: bytes) -> str:
    """Name the other format of which it is, as qemu-img calls it; "" for raw and qcow2."""
    vdi = head[VDI_PLACE : VDI_PLACE + len(VDI)] == VDI
    return "vdi" if vdi else _named(head, IMAGES)


def archive(head: bytes) -> str:
    tar = head[TAR_PLACE : TAR_PLACE + len(TAR)] == TAR
    return "tar" if tar else _named(head, ARCHIVES)


def is_text(head: bytes) -> bool:
    """Tell text from a disk: a boot sector and a partition table have bytes that no text has."""
    if head.startswith(UTF16):
        return True
    sample = head[:512].removeprefix(b"\xef\xbb\xbf")
    return bool(sample) and all(letter >= ord(" ") or letter in BLANKS for letter in sample)


def _named(head: bytes, kinds: dict[bytes, str]) -> str:
    return next((kind for magic, kind in kinds.items() if head.startswith(magic)), "")
