"""Writes the archive of holdfast.precompiled: `python3 -I precompile.py`, when the image is built."""

import dataclasses
import importlib
import marshal
import pkgutil
import sys
import zlib
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import holdfast
from holdfast.precompiled import ARCHIVE, INDEX_SIZE

texts: set[str] = set()


def record(text: str, *spaces: dict[str, object]) -> None:
    texts.add(text)
    exec(text, *spaces)  # noqa: S102 - what dataclasses would do


def modules() -> Iterator[tuple[str, ModuleType]]:
    """Holdfast's and Python's own: not those of few VMs, like gRPC's."""
    for found in pkgutil.walk_packages(holdfast.__path__, "holdfast."):
        importlib.import_module(found.name)
    for name, module in sorted(sys.modules.items()):
        spec = module.__spec__
        ours = name.partition(".")[0] in {"holdfast", *sys.stdlib_module_names}
        if ours and spec and isinstance(spec.loader, SourceFileLoader):
            yield name, module


def compiled(module: ModuleType) -> CodeType:
    """Without the texts of documentation, which would be a tenth of the memory. Asserts go with them: ours are for
    the type checker.
    """
    path = Path(str(module.__file__))
    return compile(path.read_bytes(), path, "exec", dont_inherit=True, optimize=2)


def main() -> None:
    vars(dataclasses)["exec"] = record
    data = bytearray()

    def put(code: CodeType) -> tuple[int, int]:
        packed = marshal.dumps(code)
        data.extend(packed)
        return len(data) - len(packed), len(packed)

    found = {}
    for name, module in modules():
        found[name] = (*put(compiled(module)), module.__file__, hasattr(module, "__path__"))
    methods = {
        zlib.crc32(text.encode()): put(compile(text, "<dataclass>", "exec"))
        for text in sorted(texts)
    }
    if len(methods) != len(texts):
        sys.exit("two dataclasses have texts of one checksum: choose another one")
    index = marshal.dumps({"modules": found, "methods": methods})
    tail = index + len(index).to_bytes(INDEX_SIZE, "little")
    Path(ARCHIVE).write_bytes(bytes(data) + tail)


if __name__ == "__main__":
    main()
