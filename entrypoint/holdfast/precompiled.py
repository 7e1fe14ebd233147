"""What the image's build has computed (entrypoint/precompile.py), so that no start need do it again.

One file holds the code of all modules that a start may load, Python's own among them. Without it half of the time
of the imports goes into finding, opening and reading 250 files.

An image's files never change, so nothing here is checked against its source.
"""

import gc
import marshal
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

ARCHIVE = __file__.replace(".py", ".bin")
ROOT = __file__.rpartition("/holdfast/")[0]
INDEX_SIZE = 8  # bytes at the end of the file: how large the index before them is

Module = tuple[int, int, str, bool]  # offset, size, the source's path, whether it is a package


class Archive:
    """A finder and a loader of modules, as importlib.abc has them: those classes would have to be loaded."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        end = os.fstat(self._file).st_size - INDEX_SIZE
        size = int.from_bytes(os.pread(self._file, INDEX_SIZE, end), "little")
        index = os.pread(self._file, size, end - size)
        self._modules: dict[str, Module] = marshal.loads(index)  # noqa: S302 - the image's own

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        found = self._modules.get(name)
        if found is None:
            return None
        origin, is_package = found[2:]
        spec = ModuleSpec(name, self, origin=origin, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True  # `origin` becomes __file__
        spec.cached = ""  # no name of a file with bytecode is worked out
        if is_package:
            spec.submodule_search_locations = [origin.rpartition("/")[0]]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it at the usual kind."""

    def exec_module(self, module: ModuleType) -> None:
        offset, size, *_ = self._modules[module.__name__]
        code = marshal.loads(os.pread(self._file, size, offset))  # noqa: S302 - the image's own
        exec(code, vars(module))  # noqa: S102 - that is loading a module


def use() -> None:
    """Use the archive. To be called before another module is loaded."""
    # Nothing is garbage yet: 2000 new objects, the default, would have it all looked through forty times.
    gc.set_threshold(100_000)
    # OpenSSL's hashes, 3 ms and half a MiB: hashlib has code of its own, good enough for a name.
    sys.modules["_hashlib"] = None  # type: ignore[assignment]  # the import fails
    sys.meta_path.insert(0, Archive(ARCHIVE))


def command(module: str) -> list[str]:
    """Return how a module of Holdfast is run in another process, whose `main` it is; with the
    archive where there is one.
    """
    if not os.path.exists(ARCHIVE):  # noqa: PTH110 - pathlib is not loaded for this alone
        return [sys.executable, "-P", "-m", module]
    code = f"import sys; sys.path.append({ROOT!r}); from holdfast import precompiled; precompiled.use(); "
    return [sys.executable, "-ISBc", f"{code}from {module} import main; main()"]
