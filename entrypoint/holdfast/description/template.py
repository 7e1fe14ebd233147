"""`_defaults` are templates over `vm`, `host` and `key`. A VM's own keys never are.

They are put into text, chosen and changed by what is listed here: without loops, variables and repetition
a template does no more than it is long, and the launcher, which renders it, cannot be kept busy.
"""

from functools import cache
from typing import Any

from holdfast.grammar import VALUE_LENGTH, Refused

_NODES = """
Add And Call Compare Concat CondExpr Const Dict Div Filter FloorDiv Getattr Getitem If Keyword List Mod Mul Name Neg
Not Operand Or Output Pair Pos Slice Sub Template TemplateData Test Tuple
"""
_FILTERS = """
abs capitalize d default first float int last length lower replace round string title tojson trim upper
"""
_METHODS = """
capitalize count endswith find isalnum isalpha isdigit islower isupper lower lstrip partition removeprefix removesuffix
replace rpartition rsplit rstrip split startswith strip title upper
"""
NODES, FILTERS, METHODS = (frozenset(text.split()) for text in (_NODES, _FILTERS, _METHODS))
MOST_NODES = 10_000
ARITHMETIC = ("*", "%")  # a text repeated, or padded to any width


def rendered(text: str, *, vm: str, host: str, key: str) -> str:
    if "{" not in text:
        return text
    try:
        environment = _environment()
        tree = environment.parse(text)
        _refuse_programs(tree)
        result = str(environment.from_string(tree).render(vm=vm, host=host, key=key))
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - a template may fail in any way an expression can
        raise Refused(f"is a template that fails: {str(error) or type(error).__name__}") from None
    if len(result) > VALUE_LENGTH or "\0" in result:
        raise Refused("is a template whose result is too long, or has a NUL byte")
    return result


def _refuse_programs(tree: Any) -> None:
    nodes, seen = [tree], 0
    while nodes:
        node, seen = nodes.pop(), seen + 1
        if seen > MOST_NODES:
            raise Refused(f"is a template of more than {MOST_NODES} parts")
        kind = type(node).__name__
        if kind not in NODES:
            raise Refused(f"is a template with more than expressions and `if` ({kind.lower()})")
        if kind == "Filter" and node.name not in FILTERS:
            raise Refused(
                f"is a template with a filter that is none of {', '.join(sorted(FILTERS))}"
            )
        if kind == "Call" and getattr(node.node, "attr", "") not in METHODS:
            raise Refused(
                f"is a template with a call that is none of {', '.join(sorted(METHODS))}"
            )
        nodes += node.iter_child_nodes()


def _replaced(text: object, old: object, new: object, count: int = -1) -> str:
    """Bounded beforehand: each letter may become a text."""
    before, old, new = str(text), str(old), str(new)
    if len(before) + before.count(old) * len(new) > VALUE_LENGTH:
        raise Refused("is a template whose result is too long, or has a NUL byte")
    return before.replace(old, new, count)


@cache
def _environment() -> Any:
    from jinja2 import StrictUndefined  # noqa: PLC0415 - 30 ms that few VMs need
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - likewise

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(ARITHMETIC)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if not all(isinstance(one, int | float) for one in (left, right)):
                raise Refused(f"is a template with {operator} between what are no numbers")
            return super().call_binop(context, operator, left, right)

        def call(self, context: Any, what: Any, *given: Any, **named: Any) -> Any:
            if getattr(what, "__name__", "") == "replace":
                return _replaced(getattr(what, "__self__", ""), *given, **named)
            return super().call(context, what, *given, **named)

    # Nothing of HTML here: escaping would corrupt user-data.
    environment = Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["replace"] = _replaced
    return environment
