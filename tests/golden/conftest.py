"""`--regenerate` writes the goldens as the code makes them now; git shows what that changed."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="write the golden files anew")


@pytest.fixture
def regenerate(pytestconfig: pytest.Config) -> bool:
    # Not registered when this folder was not named on the command line.
    return bool(pytestconfig.getoption("--regenerate", default=False))
