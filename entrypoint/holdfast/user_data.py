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
    raise Refused(RULE, hidden="@" in text)


def permit(host_config: HostConfig, user_data: UserData | None) -> None:
    if user_data:
        host_config.permit_path(user_data.path)


def _checked(url: str, rest: str) -> str:
    """Whether it can be reached is known when it is fetched. A password in it stays unshown."""
    secret = "@" in rest
    if not rest.startswith("//") or rest.removeprefix("//")[:1] in ("", "/", "?", "#"):
        raise Refused("must be a URL such as https://host/path", hidden=secret)
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise Refused("has characters that a URL cannot hold: encode them with %", hidden=secret)
    return url
