"""URLs by table: what is fetched, what is refused, and what an error may show of them."""

from ipaddress import ip_address

import pytest

from holdfast.errors import ConfigError
from holdfast.grammar.url import Target, forbidden, redirected, shown


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("file:///etc/passwd", "http:// or https://"),
        ("gopher://example.org/", "http:// or https://"),
        ("ftp://example.org/a", "http:// or https://"),
        ("data:text/plain,a", "http:// or https://"),
        ("javascript:alert(1)", "http:// or https://"),
        ("//example.org/a", "http:// or https://"),
        ("/etc/passwd", "http:// or https://"),
        ("", "http:// or https://"),
        ("http:", "no host"),
        ("http://", "no host"),
        ("http:///a", "no host"),
        ("http://:80/a", "no host"),
        ("http://user@/a", "no host"),
        ("http://example.org:0/", "port 0"),
        ("http://example.org:65536/", "not a URL"),
        ("http://example.org:http/", "not a URL"),
        ("http://example.org:-1/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://example.org/a b", "encode"),
        ("http://exa\nmple.org/", "encode"),
        ("http://example.org/\r\nHost: other", "encode"),
        ("http://example.org/\x00", "encode"),
        ("http://example.org/\t", "encode"),
        ("http://ex\u00e4mple.org/", "encode"),
        ("http://\u2460\u2461\u2466.0.0.1/", "encode"),
        ("\ufeffhttp://example.org/", "encode"),
    ],
)
def test_a_bad_url_is_refused(url: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        Target.parsed(url)


def test_a_url_comes_apart() -> None:
    target = Target.parsed("HTTPS://me:p%40w@Example.org:8443/a/b?c=d#e")
    assert (target.scheme, target.host, target.port) == ("https", "example.org", 8443)
    assert target.resource == "/a/b?c=d"
    assert target.headers["Host"] == "Example.org:8443"
    assert target.headers["Authorization"] == "Basic bWU6cEB3"


def test_what_a_url_leaves_out_has_the_usual_value() -> None:
    target = Target.parsed("http://[2001:db8::1]?x")
    assert (target.host, target.port, target.resource) == ("2001:db8::1", 80, "/?x")
    assert target.headers["Host"] == "[2001:db8::1]"
    assert "Authorization" not in target.headers
    assert Target.parsed("https://example.org").port == 443


def test_a_target_does_not_show_secrets() -> None:
    assert "pw" not in repr(Target.parsed("http://me:pw@example.org/?token=pw"))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://example.org:80/a", "http://example.org:80/a"),
        ("http://me:pw@example.org/a", "http://example.org/a"),
        ("http://me:p@w@example.org/a", "http://example.org/a"),
        ("http://[2001:db8::1]:80/a?token=pw#x", "http://[2001:db8::1]:80/a"),
        ("http://me:pw/x@example.org/", "..."),
        ("http://me:pw#x@example.org/", "..."),
        ("http:me:pw@example.org/", "..."),
        ("file:///etc/passwd", "file:///etc/passwd"),
    ],
)
def test_what_is_shown_of_a_url_holds_no_secret(url: str, text: str) -> None:
    assert shown(url) == text


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("0.0.0.0", "unspecified"),  # noqa: S104 - as text
        ("127.0.0.1", "loopback"),
        ("127.8.9.10", "loopback"),
        ("169.254.169.254", "link-local"),
        ("169.254.0.1", "link-local"),
        ("224.0.0.251", "multicast"),
        ("255.255.255.255", "reserved"),
        ("100.100.100.200", "cloud metadata"),
        ("168.63.129.16", "cloud metadata"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("ff02::1", "multicast"),
        ("fd00:ec2::254", "cloud metadata"),
        ("fd20:ce::254", "cloud metadata"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::127.0.0.1", "reserved"),
        ("2002:7f00:1::", "loopback"),
        ("2002:a9fe:a9fe::1", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b::7f00:1", "loopback"),
    ],
)
def test_where_a_stranger_may_not_lead(address: str, kind: str) -> None:
    assert forbidden(ip_address(address)) == kind


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "192.0.2.1",
        "8.8.8.8",
        "fd00::1",
        "2001:db8::1",
        "2606:4700::1",
        "::ffff:192.168.1.1",
        "64:ff9b::c0a8:101",
    ],
)
def test_where_users_servers_stand(address: str) -> None:
    assert forbidden(ip_address(address)) == ""


@pytest.mark.parametrize(
    ("here", "location", "there"),
    [
        ("http://example.org/a/b", "c", "http://example.org/a/c"),
        ("http://me:pw@example.org/a", "/c?d", "http://me:pw@example.org/c?d"),
        ("http://me:pw@example.org/a", "http://example.net/", "http://example.net/"),
        ("http://example.org/a", "//example.net/c", "http://example.net/c"),
        ("http://example.org/a", "https://example.org/a", "https://example.org/a"),
        ("http://example.org/a", "file:///etc/passwd", "file:///etc/passwd"),
    ],
)
def test_a_redirect_leads_on(here: str, location: str, there: str) -> None:
    assert redirected(here, location) == there


@pytest.mark.parametrize("location", ["http://example.org/a", "HTTP://example.org/a", "http://["])
def test_a_redirect_may_not_leave_https_or_be_nonsense(location: str) -> None:
    with pytest.raises(ConfigError, match="redirects"):
        redirected("https://example.org/a", location)
