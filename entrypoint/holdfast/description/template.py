"""`_defaults` are templates over `vm`, `host` and `key`. A VM's own keys never are."""

from functools import cache
from typing import Any

from holdfast.grammar import VALUE_LENGTH, Refused


def rendered(text: str, *, vm: str, host: str, key: str) -> str:
    if "{" not in text:
        return text
    try:
        result = str(_environment().from_string(text).render(vm=vm, host=host, key=key))
    except Exception as error:  # noqa: BLE001 - a template may fail in any way an expression can
        raise Refused(f"is a template that fails: {str(error) or type(error).__name__}") from None
    if len(result) > VALUE_LENGTH or "\0" in result:
        raise Refused("is a template whose result is too long, or has a NUL byte")
    return result


@cache
def _environment() -> Any:
    from jinja2 import StrictUndefined  # noqa: PLC0415 - 30 ms that few VMs need
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - likewise

    # Nothing of HTML here: escaping would corrupt user-data.
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
