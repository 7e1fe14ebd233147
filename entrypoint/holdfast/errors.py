"""Errors by meaning. One place, `__main__`, catches them and turns them into an exit status.

HoldfastError
├── UsageError        64  the command line or the environment is wrong
├── Unreachable       69  etcd, a pool or a cluster did not answer in time
├── InternalError     70  a fault of Holdfast's own
├── Changed           75  what was read was changed by somebody else before it could be written
├── LockHeld          75  somebody else runs the VM and LOCK_WAIT is over
├── Outgrown          75  the container's limit of memory is for the VM as it was
├── OwnershipLost     76  the VM is not ours any more
├── HostLacks         77  a device or a right is missing on this host
└── ConfigError       78  the keys are wrong, or name what does not exist

The numbers are those of sysexits(3) where it has one.
"""

from collections.abc import Callable, Iterable
from typing import ClassVar

from holdfast.dataclass import dataclass

SHOWN_VALUE_LENGTH = 64


class HoldfastError(Exception):
    """What is wrong (`message`) and what to do about it (`hint`)."""

    status: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def lines(self) -> list[str]:
        """Return the text for the operator, one finding a line."""
        return [self.message, *self.hint.splitlines()]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One wrong value: the key (or variable) that holds it, the value, and the rule it breaks."""

    key: str
    rule: str
    value: str | None = None

    def __str__(self) -> str:
        shown = "" if self.value is None else f"{shortened(self.value)}: "
        return f"{self.key}: {shown}{self.rule}"


class BadInput(HoldfastError):
    """All faults that were found, to be reported together; or one sentence."""

    def __init__(self, faults: Iterable[Fault] | str, *, hint: str = "") -> None:
        self.faults = () if isinstance(faults, str) else tuple(faults)
        text = faults if isinstance(faults, str) else "; ".join(map(str, self.faults))
        super().__init__(text, hint=hint)

    def lines(self) -> list[str]:
        if not self.faults:
            return super().lines()
        return [*map(str, self.faults), *self.hint.splitlines()]


class UsageError(BadInput):
    status = 64


class Unreachable(HoldfastError):
    status = 69


class InternalError(HoldfastError):
    status = 70


class Changed(HoldfastError):
    status = 75


class LockHeld(HoldfastError):
    status = 75


class Outgrown(HoldfastError):
    """The container was made for a smaller VM than the keys describe by now."""

    status = 75


class OwnershipLost(HoldfastError):
    status = 76


class HostLacks(HoldfastError):
    status = 77

    @classmethod
    def all(cls, lacks: Iterable["HostLacks"]) -> "HostLacks":
        """Join several, each with what to do about it on the line after it."""
        together = cls("; ".join(lack.message for lack in lacks))
        together._lines = [line for lack in lacks for line in lack.lines()]
        return together

    _lines: list[str] | None = None

    def lines(self) -> list[str]:
        return super().lines() if self._lines is None else self._lines


class ConfigError(BadInput):
    status = 78


FOLDER = "is a folder: docker makes one where the file of `-v` does not exist on the host"


def reason(error: OSError) -> str:
    """Say why a file cannot be read or written."""
    return FOLDER if isinstance(error, IsADirectoryError) else error.strerror or str(error)


def legible(text: str, longest: int = SHOWN_VALUE_LENGTH) -> str:
    r"""Fit somebody else's words into a sentence of ours: on one line, nothing that moves a
    terminal, and no more than `longest` characters.

    >>> legible("h2\n\x1b[31m")
    'h2\\n\\x1b[31m'
    """
    whole = text[: longest + 1]
    plain = whole if whole.isprintable() else "".join(map(_seen, whole))
    return plain if len(plain) <= longest else plain[: longest - 3] + "..."


def _seen(letter: str) -> str:
    return letter if letter.isprintable() else ascii(letter)[1:-1]


def shortened(value: str) -> str:
    r"""Show a value as it may be shown: printable, quoted, and not longer than a line.

    >>> shortened("a\nb")
    "'a\\nb'"
    """
    text = ascii(value) if not value.isprintable() else repr(value)
    return text if len(text) <= SHOWN_VALUE_LENGTH else text[: SHOWN_VALUE_LENGTH - 4] + "...'"


def together(checks: Iterable[Callable[[], object]]) -> None:
    """Raise the HostLacks of all checks as one. Whoever mends one thing a try would need as many
    starts as there are lacks.
    """
    lacks = []
    for check in checks:
        try:
            check()
        except HostLacks as lack:
            lacks.append(lack)
        except OSError as error:  # a mount that is dead, a file of root's on a server
            lacks.append(HostLacks(f"{error.filename or 'this host'}: {error.strerror}"))
    if lacks:
        raise lacks[0] if len(lacks) == 1 else HostLacks.all(lacks)
