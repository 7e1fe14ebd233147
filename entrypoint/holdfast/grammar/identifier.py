"""Names and paths: parsers that hold what goes into ids, file names and key names to plain ASCII."""

from collections.abc import Collection, Iterable

from holdfast.grammar import Refused
from holdfast.machine.ceph import RbdImage

DIGITS = frozenset("0123456789")
HEX = frozenset("0123456789abcdef")
LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
LETTERS = LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
LABEL = LETTERS | DIGITS | {"-"}
WORD = LABEL | {".", "_"}

NAME_LENGTH = 63
MEMBER_LENGTH = 26  # QEMU's node names end at 31 characters, and we put `disk-` in front
SERIAL_LENGTH = 20  # VIRTIO_BLK_ID_BYTES
INTERFACE_LENGTH = 15  # the kernel's IFNAMSIZ, less the closing NUL


def consists_of(text: str, allowed: Collection[str], longest: int = NAME_LENGTH) -> bool:
    return 0 < len(text) <= longest and all(letter in allowed for letter in text)


def name(value: str) -> str:
    """A VM's name."""
    if not consists_of(value, LOWER | DIGITS | {"-"}) or value.startswith("-"):
        raise Refused("must be 1 to 63 of a-z, 0-9 and -, and not start with -")
    return value


def member(value: str) -> str:
    """The name of one of several disks or network cards. It becomes part of QEMU's ids."""
    allowed = LOWER | DIGITS | {"-", "_"}
    if not consists_of(value, allowed, MEMBER_LENGTH) or value[0] in "-_":
        raise Refused("its name must be 1 to 26 of a-z, 0-9, - and _, and start with neither sign")
    return value


def boot_device(value: str) -> str:
    """A disk or a network card, by its name alone or with its family in front."""
    family, slash, rest = value.partition("/")
    member(rest if slash and family in ("disks", "nics") else value)
    return value


def natural(value: str) -> tuple[tuple[int, str], ...]:
    """The order in which people count: disk2 before disk10."""
    words = "".join(letter if letter in DIGITS else f" {letter} " for letter in value).split()
    return tuple((int(word), "") if word.isdigit() else (-1, word) for word in words)


def word(value: str) -> str:
    """A name of QEMU's: a machine, a CPU model."""
    if not consists_of(value, WORD) or value[0] not in LETTERS | DIGITS:
        raise Refused("must be a plain name, without blanks, commas and options")
    return value


def machine(value: str) -> str:
    if value == "none":
        raise Refused("is a machine without CPU and memory")
    return word(value)


def serial(value: str) -> str:
    """Of a disk, as far as virtio-blk hands it on."""
    if not consists_of(value, WORD, SERIAL_LENGTH):
        raise Refused("must be 1 to 20 letters, digits, dot, - and _")
    return value


def hostname(value: str) -> str:
    """A label of RFC 1123."""
    if "." in value.strip(".") and consists_of(value, LABEL | {"."}, 253):
        rule = "must be the first label of it alone; the whole name goes into meta_data, as `local-hostname`"
        raise Refused(f"is a name with its domain: {rule}")
    if not consists_of(value, LABEL) or "-" in (value[0], value[-1]):
        raise Refused("must be 1 to 63 letters, digits and -, and not start or end with -")
    return value


def host(value: str) -> str:
    """The name of a machine, as `hostname` prints it there."""
    if not consists_of(value, WORD, 253) or value[0] in "-.":
        raise Refused("must be a host name: letters, digits, dot, - and _")
    return value


def domain(value: str) -> str:
    """A DNS domain."""
    for label in value.removesuffix(".").split("."):
        hostname(label)
    return value


def timezone(value: str) -> str:
    """A name of the tz database: a path under the guest's /usr/share/zoneinfo."""
    parts = value.split("/")
    if not all(consists_of(part, LABEL | {"_", "+"}) and part[0] not in "-+" for part in parts):
        raise Refused("must be a name such as Europe/Berlin or UTC")
    return value


def variable(value: str) -> str:
    """The name of an environment variable, as a shell takes it."""
    if not consists_of(value, LETTERS | DIGITS | {"_"}) or value[0] in DIGITS:
        raise Refused("its name must be letters, digits and _, and not start with a digit")
    return value


def interface(value: str) -> str:
    allowed = consists_of(value, WORD, INTERFACE_LENGTH)
    if not allowed or value[0] in "-." or value == "lo":
        raise Refused(
            "must be the name of a bridge or device: at most 15 letters, digits, dot, - and _"
        )
    return value


def usb_device(value: str) -> str:
    """The numbers that the makers gave it, as lsusb prints them."""
    vendor, colon, product = value.lower().partition(":")
    if not colon or not all(len(part) == 4 and HEX.issuperset(part) for part in (vendor, product)):  # noqa: PLR2004 - 16 bits
        raise Refused("must be vendor:product, four hexadecimal digits each, such as 0951:1666")
    return f"{vendor}:{product}"


def usb_pattern(value: str) -> str:
    """The same, or `*` for all products of a vendor."""
    vendor, _, product = value.partition(":")
    return f"{usb_device(f'{vendor}:0000')[:4]}:*" if product == "*" else usb_device(value)


def pci_address(value: str) -> str:
    """With its domain, as sysfs writes it."""
    place, _, function = value.lower().partition(".")
    numbers = place.split(":") if place.count(":") > 1 else ["0000", *place.split(":")]
    if [len(number) for number in numbers] != [4, 2, 2] or not HEX.issuperset("".join(numbers)):
        raise Refused("must be a PCI address such as 0000:03:00.0 or 03:00.0")
    if int(numbers[2], 16) > 31 or function not in tuple("01234567"):  # noqa: PLR2004 - five bits
        raise Refused("must be a PCI address: a device up to 1f, and a function from 0 to 7")
    return f"{':'.join(numbers)}.{function}"


def uuid(value: str) -> str:
    groups = value.lower().split("-")
    if [len(group) for group in groups] != [8, 4, 4, 4, 12] or not HEX.issuperset("".join(groups)):
        raise Refused("must be a UUID such as 6f2c0f7e-5d0c-4b61-9d49-3c1ddc5ac8d5")
    return value.lower()


def path(value: str) -> str:
    """An absolute path in its one normal spelling, so that a comparison of its parts holds."""
    if not value.startswith("/"):
        raise Refused("must be an absolute path, not a URL or a relative path")
    if not value.isprintable():
        raise Refused("must be a path without control characters")
    if any(part in ("", ".", "..") for part in value[1:].split("/")):
        raise Refused("must be a plain path, without .., . or //")
    return value


def is_under(value: str, folders: Iterable[str]) -> bool:
    return any(value.startswith(folder.rstrip("/") + "/") for folder in folders)


def rbd_image(value: str) -> RbdImage:
    """`pool/image` or `pool/namespace/image`; the origin's documents write a / in front."""
    parts = value.removeprefix("/").split("/")
    if len(parts) not in (2, 3) or not all(map(is_rbd_part, parts)):
        raise Refused("must be pool/image or pool/namespace/image, without blanks at the ends")
    if "@" in value:
        raise Refused("names a snapshot: a VM's disk must be an image")
    return RbdImage(pool=parts[0], namespace="".join(parts[1:-1]), image=parts[-1])


def is_rbd_part(part: str) -> bool:
    return part.isprintable() and part == part.strip() and part != "" and not part.startswith("-")
