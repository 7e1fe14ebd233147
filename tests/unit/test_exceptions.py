"""Every exception from a linter's rule says why, on its line, as CONTRIBUTING asks."""

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "entrypoint" / "holdfast"
EXCEPTION = re.compile(r"# noqa: [A-Z]+\d+(?:, [A-Z]+\d+)*(?! - \S|[\d,])")


def test_an_exception_has_a_reason() -> None:
    bare = [
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in sorted(SOURCE.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if EXCEPTION.search(line)
    ]
    assert bare == []
