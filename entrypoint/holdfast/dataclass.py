"""Dataclasses as the standard library has them, as far as they are used here, made another way. That one writes the
methods of each class as text and compiles it, which was 40 % of all instructions of a start, and loads `inspect`,
`ast` and `dis`. Here all classes share a few methods, and each has a table of its fields.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

T = TypeVar("T")
MISSING: Any = object()  # no default


class Field:
    """As `dataclasses.Field`: the standard library's own functions, which tests use, know these classes, too."""

    init = True

    def __init__(self, default: Any, default_factory: Any, *, shown: bool, compare: bool) -> None:
        self.name, self.type = "", None  # until the class tells
        self.default, self.default_factory = default, default_factory
        self.repr, self.compare = shown, compare

    @property
    def _field_type(self) -> object:
        from dataclasses import _FIELD  # type: ignore[attr-defined]  # noqa: PLC0415 - who asks has loaded it

        return _FIELD


def field(
    *,
    default: Any = MISSING,
    default_factory: Callable[[], Any] = MISSING,
    repr: bool = True,  # noqa: A002 - the standard library's name
    compare: bool = True,
) -> Any:
    return Field(default, default_factory, shown=repr, compare=compare)


def fields(kind: Any) -> tuple[Field, ...]:
    """Return those of a class or of one of its values."""
    return tuple(kind.__dataclass_fields__.values())


@dataclass_transform(field_specifiers=(field,))
def dataclass(*, frozen: bool = False, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Give the class itself the methods that it does not have."""

    def made(cls: Any) -> Any:
        if hasattr(cls, "__post_init__"):
            raise TypeError(f"{cls.__qualname__}: nothing here calls __post_init__")
        known = {**getattr(cls, "__dataclass_fields__", {}), **_annotated(cls)}
        cls.__dataclass_fields__ = known
        cls.__positional__ = () if kw_only else tuple(known)
        cls.__defaults__ = {f.name: f.default for f in known.values() if f.default is not MISSING}
        cls.__factories__ = [f for f in known.values() if f.default_factory is not MISSING]
        methods = _METHODS | (_FROZEN if frozen else _FREE)
        for name in methods.keys() - vars(cls).keys():
            setattr(cls, name, methods[name])
        return cls

    return made


def _annotated(cls: type) -> dict[str, Field]:
    found = {}
    for name, kind in cls.__annotations__.items():
        if getattr(kind, "__origin__", None) is ClassVar:
            continue
        given = vars(cls).get(name, MISSING)
        one = given if isinstance(given, Field) else field(default=given)
        one.name, one.type = name, kind
        found[name] = one
        if given is one:
            delattr(cls, name)
    return found


if TYPE_CHECKING:  # which knows the fields that may change
    from dataclasses import replace as replace  # noqa: PLC0414 - others have it from here
else:

    def replace(value: T, **changes: Any) -> T:
        return type(value)(**{**vars(value), **changes})


def asdict(value: Any) -> dict[str, Any]:
    """Return its fields by name, and so on for those in them."""
    return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


def _init(self: Any, *given: Any, **named: Any) -> None:
    if given:
        named |= zip(self.__positional__[: len(given)], given, strict=True)
    values = {**self.__defaults__, **named}
    for one in self.__factories__:
        if one.name not in named:
            values[one.name] = one.default_factory()
    if values.keys() != self.__dataclass_fields__.keys():
        wrong = ", ".join(sorted(values.keys() ^ self.__dataclass_fields__.keys()))
        raise TypeError(f"{type(self).__qualname__}: wanting, or not among its fields: {wrong}")
    vars(self).update(values)


def _repr(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _compared(value: Any) -> list[Any]:
    return [getattr(value, one.name) for one in fields(value) if one.compare]


def _eq(self: Any, other: Any) -> Any:
    return _compared(self) == _compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(tuple(_compared(self)))


def _fixed(self: Any, name: str, *_: object) -> None:
    raise AttributeError(
        f"{name}: a {type(self).__qualname__} never changes; `replace` makes another"
    )


_METHODS = {"__init__": _init, "__repr__": _repr, "__eq__": _eq}
_FROZEN = {"__hash__": _hash, "__setattr__": _fixed, "__delattr__": _fixed}
_FREE = {"__hash__": None}
