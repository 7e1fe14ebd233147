"""Writes the archive of holdfast.precompiled: `python3 -I precompile.py`, when the image is built."""

import importlib
import marshal
import pkgutil
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import holdfast
from holdfast.precompiled import ARCHIVE, INDEX_SIZE


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
    data, index = bytearray(), {}
    for name, module in modules():
        packed = marshal.dumps(compiled(module))
        index[name] = (len(data), len(packed), module.__file__, hasattr(module, "__path__"))
        data.extend(packed)
    found = marshal.dumps(index)
    Path(ARCHIVE).write_bytes(data + found + len(found).to_bytes(INDEX_SIZE, "little"))


if __name__ == "__main__":
    main()
