"""What this host has, for people and for what places VMs: gathered from text that its tools print."""

import re
from collections.abc import Collection, Iterable, Mapping

VERSION = re.compile(r"version (\d+(?:\.\d+)+)")
# Debian's packages whose version an operator is asked for.
PACKAGES = {
    "qemu": ("qemu-system-x86", "qemu-system-arm"),
    "uefi": ("ovmf", "qemu-efi-aarch64"),
    "bios": ("seabios",),
    "tpm": ("swtpm",),
    "virtiofs": ("virtiofsd",),
    "ceph client": ("librbd1",),
    "etcd client": ("python3-etcd3",),
}


def version(text: str) -> str:
    """Of `qemu-system-... --version`; "" where it does not say.

    >>> version("QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)")
    '10.0.13'
    """
    found = VERSION.search(text)
    return found[1] if found else ""


def machines(text: str) -> tuple[str, ...]:
    r"""The boards of `-machine help`.

    >>> machines("Supported machines are:\nq35   Standard PC (alias of pc-q35-10.0)\nnone  empty")
    ('q35',)
    """
    names = (line.split()[0] for line in text.splitlines()[1:] if line.split())
    return tuple(name for name in names if name != "none")


def packages(status: str) -> Mapping[str, str]:
    """The versions that dpkg's status file has of PACKAGES."""
    wanted = {name for names in PACKAGES.values() for name in names}
    versions = dict(_installed(status.split("\n\n"), wanted))
    return {
        what: ", ".join(versions[name] for name in names if name in versions)
        for what, names in PACKAGES.items()
        if any(name in versions for name in names)
    }


def _installed(stanzas: Iterable[str], wanted: Collection[str]) -> Iterable[tuple[str, str]]:
    for stanza in stanzas:
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " "
        )
        if fields.get("Package") in wanted and fields.get("Status", "").endswith(" installed"):
            yield fields["Package"], fields.get("Version", "")


def lines(facts: object, indent: int = 0) -> list[str]:
    """For people: a name a line, what belongs to it below."""
    if isinstance(facts, Mapping):
        found = []
        for name, value in facts.items():
            below = isinstance(value, Mapping) and value
            shown = "" if below else f" {_plain(value)}"
            found.append(f"{'  ' * indent}{name}:{shown}")
            found += lines(value, indent + 1) if below else []
        return found
    return [f"{'  ' * indent}{_plain(facts)}"]


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "-"
    return "-" if value in (None, "") or value == {} else str(value)
