"""One row of the KEYS table."""

from collections.abc import Callable
from typing import Any

from holdfast.dataclass import dataclass
from holdfast.grammar import Parser, identifier
from holdfast.policy.host_config import HostConfig


@dataclass(frozen=True, kw_only=True)
class Key:
    """One row. `field` is what the value fills in Machine, Disk or Nic; "" if nothing by itself.

    `permit` asks host.toml whether a value that is not the operator's own may be used here.
    `same_as` is the key that this is another name for. `hardware`: a guest would notice.
    """

    name: str
    parse: Parser[Any]
    value: str
    default: str = "-"
    doc: str
    field: str = ""
    same_as: str = ""
    permit: Callable[[HostConfig, Any], None] | None = None
    hardware: bool = False
    secret: bool = False
    with_options: bool = False  # heeded even where QEMU's own options replace the description


FILE: Any = {"parse": identifier.path, "permit": HostConfig.permit_path}
