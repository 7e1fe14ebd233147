"""Where a VM's user-data is: at a URL, in a file of the host, or in the key itself."""

from holdfast import identifier
from holdfast.cloudinit import STARTS
from holdfast.grammar import Refused
from holdfast.host_config import HostConfig
from holdfast.machine import UserData

RULE = "must be an http or https URL, file: and a path, or text that starts with #cloud-config"


def parse(text: str) -> UserData | None:
    """The origin's units wrote the key even when there was no user-data: empty is none."""
    if not text.strip():
        return None
    if text.startswith(STARTS):
        return UserData(inline=text)
    if "\n" in text:
        # Whatever this is, it may hold a password.
        raise Refused(RULE, hidden=True)
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "file":
        return UserData(path=identifier.path(rest.removeprefix("//")))
    if colon and scheme.lower() in ("http", "https"):
        return UserData(url=_checked(text, rest))
    raise Refused(RULE)


def permit(host_config: HostConfig, user_data: UserData | None) -> None:
    if user_data:
        host_config.permit_path(user_data.path)


def _checked(url: str, rest: str) -> str:
    authority = rest.removeprefix("//").partition("/")[0].partition("?")[0].partition("#")[0]
    if "@" in authority:
        raise Refused("has a user or password, which would show in logs", hidden=True)
    if not rest.startswith("//") or not authority or not url.isascii() or " " in url:
        raise Refused("must be a URL such as https://host/path, blanks written as %20")
    if not url.isprintable():
        raise Refused("must be a URL without control characters")
    return url
