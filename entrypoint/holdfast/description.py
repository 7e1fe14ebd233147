"""A VM's keys, as text, become a Machine. Nothing after this sees raw text."""

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.machine import Machine
from holdfast.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Description:
    """`unknown` are warnings, a line each, about keys that this version passes over."""

    machine: Machine
    unknown: tuple[str, ...] = ()


def describe(
    settings: Settings, own: Mapping[str, bytes], defaults: Mapping[str, bytes]
) -> Description:
    raise NotImplementedError


def raw_from_file(text: str) -> Mapping[str, bytes]:
    raise NotImplementedError
