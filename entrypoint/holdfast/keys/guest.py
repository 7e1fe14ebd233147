"""The keys that set the guest up from inside, through cloud-init."""

from typing import Any

from holdfast import grammar
from holdfast.cloudinit import document
from holdfast.grammar import Refused, identifier, line, ssh_key
from holdfast.keys.row import Key

LONGEST_PASSWORD = 511  # PAM_MAX_RESP_SIZE, less the closing NUL
RANDOM = ("R", "RANDOM")  # with these cloud-init makes a password up, and prints it on the console


def _password(text: str) -> str:
    if not text or text in RANDOM:
        raise Refused("must be a password, and neither empty nor one of R and RANDOM")
    if text.startswith("$"):
        from holdfast.grammar import password_hash  # noqa: PLC0415 - its patterns cost more than most passwords

        if rule := password_hash.unfit(text):
            raise Refused(rule)
    return line(LONGEST_PASSWORD)(text)


# fmt: off
_SEEDED: Any = {"with_options": True}
_DOCUMENT: Any = {"permit": document.permit, **_SEEDED}

GUEST = (
    Key(name="user_data", parse=document.user_data, field="user_data", **_DOCUMENT,
        value="URL, `file:` and a path, or text", doc="cloud-init's user-data, as it is: what starts with `#cloud-config`, `#!` or the like, or a MIME message"),
    Key(name="meta_data", parse=document.yaml, field="meta_data", **_DOCUMENT,
        value="URL, `file:` and a path, or YAML", doc="goes over our own `instance-id` and `local-hostname`"),
    Key(name="network_config", parse=document.yaml, field="network_config", **_DOCUMENT,
        value="URL, `file:` and a path, or YAML", default="from the network cards", doc="instead of what the cards' keys would say"),
    Key(name="ssh_authorized_keys", parse=ssh_key.several, field="ssh_authorized_keys", **_SEEDED,
        value="public keys of OpenSSH, one a line", doc="of the image's default user"),
    Key(name="default_user_password", parse=_password, field="password", secret=True, **_SEEDED,
        value="text, or a hash of `mkpasswd -m sha-512`", doc="of the same user, for the console; over SSH as the image has it"),
    Key(name="cmds", parse=grammar.lines, field="commands", secret=True, **_SEEDED,
        value="shell commands, one a line", doc="run as root at the end of the first boot"),
    Key(name="env/<name>", parse=grammar.text, secret=True, **_SEEDED,
        value="text", doc="a variable of `cmds` and of every login shell"),
    Key(name="timezone", parse=identifier.timezone, field="timezone", **_SEEDED,
        value="name in the tz database", default="the image's", doc="such as `Europe/Berlin`"),
)
