"""What the image's build has computed (entrypoint/precompile.py), so that no start need do it again.

One file holds the code of all modules that a start may load, Python's own among them, and of the methods of
all dataclasses. Without it half of the time of the imports goes into finding, opening and reading 250 files, and
into compiling: the decorator of a dataclass writes the class's methods as text, and compiles it.

An image's files never change, so nothing here is checked against its source.
"""

import gc
import marshal
import os
import sys
import zlib
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType, SimpleNamespace

ARCHIVE = __file__.replace(".py", ".bin")
ROOT = __file__.rpartition("/holdfast/")[0]
INDEX_SIZE = 8  # bytes at the end of the file: how large the index before them is

Place = tuple[int, int]  # offset and size
Module = tuple[int, int, str, bool]  # the same, the source's path, whether it is a package


class Archive:
    """A finder and a loader of modules, as importlib.abc has them: those classes would have to be loaded."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        end = os.fstat(self._file).st_size - INDEX_SIZE
        size = int.from_bytes(os.pread(self._file, INDEX_SIZE, end), "little")
        index = marshal.loads(os.pread(self._file, size, end - size))  # noqa: S302 - the image's own
        self._modules: dict[str, Module] = index["modules"]
        self._methods: dict[int, Place] = index["methods"]

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
        """The usual kind."""

    def exec_module(self, module: ModuleType) -> None:
        offset, size, *_ = self._modules[module.__name__]
        exec(self._code(offset, size), vars(module))  # noqa: S102 - that is loading a module

    def run(self, text: str, *spaces: dict[str, object]) -> None:
        """`exec`, as the module `dataclasses` calls it."""
        place = self._methods.get(zlib.crc32(text.encode()))
        exec(self._code(*place) if place else text, *spaces)  # noqa: S102 - what it would do

    def _code(self, offset: int, size: int) -> CodeType:
        code: CodeType = marshal.loads(os.pread(self._file, size, offset))  # noqa: S302
        return code


def use() -> None:
    """To be called before another module is loaded."""
    # Nothing is garbage yet: 2000 new objects, the default, would have it all looked through forty times.
    gc.set_threshold(100_000)
    # OpenSSL's hashes, 3 ms and half a MiB: hashlib has code of its own, good enough for a name.
    sys.modules["_hashlib"] = None  # type: ignore[assignment]  # the import fails
    archive = Archive(ARCHIVE)
    sys.meta_path.insert(0, archive)
    # All that dataclasses has of it, 6 ms: what is annotated, and a line for a class that has no documentation.
    sys.modules["inspect"] = SimpleNamespace(  # type: ignore[assignment]
        get_annotations=lambda cls: vars(cls).get("__annotations__", {}), signature=lambda _: ""
    )
    import dataclasses  # noqa: PLC0415 - from the archive

    del sys.modules["inspect"]  # who else loads it gets the real one
    vars(dataclasses)["exec"] = archive.run


def command(module: str) -> list[str]:
    """How a module of Holdfast is run in another process, whose `main` it is; with the archive where there is one."""
    if not os.path.exists(ARCHIVE):  # noqa: PTH110 - pathlib is not loaded for this alone
        return [sys.executable, "-P", "-m", module]
    code = f"import sys; sys.path.append({ROOT!r}); from holdfast import precompiled; precompiled.use(); "
    return [sys.executable, "-ISBc", f"{code}from {module} import main; main()"]
