"""Where a document for cloud-init is: at a URL, in a file of the host, or in the key itself."""

from holdfast.grammar import Refused, identifier
from holdfast.machine import Document
from holdfast.policy.host_config import HostConfig

PLACES = "an http or https URL, file: and a path"


def user_data(text: str) -> Document | None:
    """The origin's units wrote the key even when there was no user-data: empty is none."""
    if not text.strip():
        return None
    if found := _elsewhere(text):
        return found
    from holdfast.cloudinit import user_data as kinds  # noqa: PLC0415 - for a guest that is told something

    if not kinds.start(text) and not kinds.is_message(text):
        raise Refused(f"must be {PLACES}, or {kinds.SHORT}", hidden="\n" in text or "@" in text)
    kinds.judge(text)
    return Document(inline=text)


def yaml(text: str) -> Document | None:
    """Of meta_data and network_config, which are mappings; empty is none, as of user_data."""
    if not text.strip():
        return None
    if found := _elsewhere(text):
        return found
    mapping(text)
    return Document(inline=text)


def permit(host_config: HostConfig, document: Document | None) -> None:
    if document:
        host_config.permit_path(document.path)


def mapping(text: str) -> dict[str, object]:
    """A YAML document that is a mapping. What it says is not shown: it may hold a password."""
    from holdfast.grammar import bounded_yaml  # noqa: PLC0415 - likewise

    found = bounded_yaml.loaded(text)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise Refused("is not a mapping in YAML", hidden=True)
    return found


def _elsewhere(text: str) -> Document | None:
    scheme, colon, rest = text.partition(":")
    if "\n" in text or not colon:
        return None
    if scheme == "file":
        return Document(path=identifier.path(rest.removeprefix("//")))
    if scheme.lower() in ("http", "https"):
        return Document(url=_checked(text, rest))
    return None


def _checked(url: str, rest: str) -> str:
    """Whether it can be reached is known when it is fetched. A password in it stays unshown."""
    secret = "@" in rest
    if not rest.startswith("//") or rest.removeprefix("//")[:1] in ("", "/", "?", "#"):
        raise Refused("must be a URL such as https://host/path", hidden=secret)
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise Refused("has characters that a URL cannot hold: encode them with %", hidden=secret)
    return url
