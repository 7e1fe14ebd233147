"""docs/commands.md says what the program does."""

from pathlib import Path

from commands_page import page

PAGE = Path(__file__).parents[3] / "docs" / "commands.md"


def test_the_page_is_the_programs() -> None:
    assert PAGE.read_text("utf-8") == page(), "tests/commands_page.py says how to renew it"
