"""The keys below `disks/<name>/source`: parsers of where an image is, and of its checksum."""

from holdfast.errors import ConfigError
from holdfast.grammar import Refused, identifier
from holdfast.machine.source import Checksum
from holdfast.policy.host_config import HostConfig

DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
BY_DIGITS = {number: name for name, number in DIGITS.items()}
LONGEST_URL = 2048
LONGEST_MEMBER = 1024


def image(text: str) -> str:
    """A path, or a URL."""
    scheme, slashes, _ = text.partition("://")
    if not slashes:
        return identifier.path(text)
    if scheme.lower() not in ("http", "https"):
        raise Refused("must be a path, or an https or http URL", hidden="@" in text)
    if len(text) > LONGEST_URL:
        raise Refused(f"must not be longer than {LONGEST_URL} characters")
    from holdfast.grammar.url import Target  # noqa: PLC0415 - most disks have no URL

    try:
        Target.parsed(text)
    except ConfigError as error:
        raise Refused(error.message, hidden="@" in text) from None
    return scheme.lower() + text[len(scheme) :]


def permit(host_config: HostConfig, place: str) -> None:
    if place.startswith("/"):
        host_config.permit_path(place)


def member(text: str) -> str:
    """The name of a file in an archive, as its table has it."""
    plain = text.removeprefix("./")
    if not plain.isprintable() or not 0 < len(plain) <= LONGEST_MEMBER:
        raise Refused("must be the name of a file in an archive")
    if any(part in ("", ".", "..") for part in plain.split("/")):
        raise Refused("must be a plain name, without .., . or // and no / in front")
    return plain


def volume(text: str) -> str:
    """`<vm>-<name>`; in a directory its format may follow: `<vm>-<name>.qcow2`."""
    if not identifier.consists_of(text, identifier.WORD, 120) or text[0] in "-.":
        raise Refused("must be the name of a volume: letters, digits, dot, - and _")
    return text


def checksum(text: str) -> Checksum:
    """`sha256:` and digits, or the digits alone, which their number tells; as sha256sum prints it, with the
    file's name behind it.
    """
    algorithm, colon, digest = text.lower().replace("=", ":", 1).partition(":")
    if not colon:
        digest = text.lower().split()[0] if text.split() else ""
        algorithm = BY_DIGITS.get(len(digest), "")
    if algorithm == "file" or "/" in algorithm:
        raise Refused(
            "must be the digest itself, and no list of them: take its line from the list"
        )
    if algorithm not in DIGITS:
        raise Refused("must be sha256:, sha384:, sha512:, sha1: or md5: and the digest")
    if len(digest) != DIGITS[algorithm] or not identifier.HEX.issuperset(digest):
        raise Refused(f"must have {DIGITS[algorithm]} hexadecimal digits after {algorithm}:")
    return Checksum(algorithm=algorithm, digest=digest)
