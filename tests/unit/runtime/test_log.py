"""What others say is logged as text, and nothing else."""

import json

import pytest

from holdfast import log

FORGED = "h2\n\x1b]0;pwned\x07\x1b[31mholdfast   9.9s ERROR: FORGED\r\u2028\u202e\x9b2J"


@pytest.fixture(autouse=True)
def _as_it_was() -> object:
    yield
    log.configure(level="info", as_json=False)


@pytest.mark.parametrize("as_json", [False, True])
def test_no_word_moves_a_terminal(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="info", as_json=as_json)
    log.info(f"waiting: {FORGED}", keys=FORGED, number=7)
    said = capsys.readouterr().err
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    assert said.count("\n") == 1
    assert not as_json or json.loads(said)["number"] == 7


def test_a_line_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    log.info("a" * 2_000_000, keys="b" * 2_000_000)
    assert len(capsys.readouterr().err) < 3 * log.LONGEST
