"""Which proxy a URL goes through, by the variables that everybody sets."""

import pytest

from holdfast.config import proxy
from holdfast.errors import ConfigError
from holdfast.grammar.url import Target


def test_the_small_names_win() -> None:
    environ = {"HTTPS_PROXY": "a", "https_proxy": "b", "HTTP_PROXY": "c", "NO_PROXY": ""}
    assert proxy.variables(environ) == {"https_proxy": "b", "http_proxy": "c"}


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "https://a.example", False),
        ("*", "https://a.example", True),
        ("a.example", "https://a.example", True),
        ("example", "https://a.example", True),
        (".example", "https://a.example", True),
        ("*.example", "https://a.example", True),
        ("ample", "https://a.example", False),
        ("b.example, A.example ,", "https://a.example", True),
        ("a.example:8443", "https://a.example", False),
        ("a.example:443", "https://a.example", True),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.1", "https://10.1.2.3", False),
        ("fd00::/8", "https://[fd00::1]", True),
        ("[fd00::1]", "https://[fd00::1]", True),
    ],
)
def test_no_proxy(no_proxy: str, url: str, direct: bool) -> None:
    given = {"https_proxy": "http://proxy:3128", "no_proxy": no_proxy}
    found = proxy.of(given, Target.parsed(url))
    assert (found is None) is direct
    assert found is None or found.origin == ("proxy", 3128)


@pytest.mark.parametrize("url", ["https://proxy:3128", "socks5://proxy", "http://", "a b"])
def test_what_is_no_proxy(url: str) -> None:
    with pytest.raises(ConfigError, match="is to go through"):
        proxy.of({"https_proxy": url}, Target.parsed("https://a.example"))
