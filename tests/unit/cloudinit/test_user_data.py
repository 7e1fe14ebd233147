"""What user-data may be: the same in a key, in a file and at a URL, and what cloud-init itself takes."""

import pytest
from describing import described, faults

from holdfast.cloudinit import user_data
from holdfast.grammar import Refused
from holdfast.machine import Document

MESSAGE = (
    'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n--b\n{}\n\n{}\n'
    "--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\ntrue\n\n--b--\n"
)
GOOD = [
    "#cloud-config\npackages: [vim]",
    "#cloud-config\r\nruncmd:\r\n- echo {{ ''.__class__ }} {% raw %}\r\n\r\n",
    "#cloud-config\nwrite_files: [{path: /a, content: 'ä€\u2028\t'}]\n\n\n",
    "#cloud-config",
    "#cloud-config\n# nothing yet\n",
    "#cloud-config\n---\nssh_pwauth: on\n",
    "#cloud-config # of web\nssh_pwauth: on\n",
    "\n#cloud-config\nssh_pwauth: on\n",
    " \r\n #cloud-config\nssh_pwauth: on\n",
    "#Cloud-Config\nssh_pwauth: on\n",
    "#cloud-config\na: &a {b: 1}\nc: {<<: *a}\n",
    "#cloud-config-archive\n- '#!/bin/sh'\n- {type: text/cloud-config, content: 'a: 1'}\n",
    '#cloud-config-jsonp\n[{"op": "add", "path": "/a", "value": 1}]\n',
    "#!/bin/sh\ntrue\n",
    "#!/bin/bash\r\ntrue\r\n",
    "#! /usr/bin/env python3\nprint('[unclosed')\n",
    "#include\nhttps://example.org/a\n",
    "#include https://example.org/a",
    "#include-once\nhttps://example.org/a\n",
    "#cloud-boothook\n#!/bin/sh\n",
    "#part-handler\n",
    "## template: jinja\n#cloud-config\nhostname: {{ v1.region }}\n",
    "## template: jinja\n{% if true %}#!/bin/sh{% endif %}\n",
    MESSAGE.format("Content-Type: text/cloud-config", "ssh_pwauth: on"),
    MESSAGE.format("Content-Type: text/plain", "#cloud-config\nssh_pwauth: on"),
    MESSAGE.format("Content-Type: text/jinja2", "## template: jinja\n#cloud-config\na: {{ b }}"),
    MESSAGE.format("Content-Type: x/y", "a: ["),
    "From nobody Sat Nov 28\nMIME-version: 1.0\nContent-Type: text/cloud-config\n\na: 1\n",
    "MIME-Version: 1.0\nContent-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\nYTogMQ==\n",
]  # fmt: skip
BAD = [
    ("packages: [vim]\n", "is dropped by cloud-init, which takes text that starts with #cloud-config-archive, "),
    ("\t#cloud-config\na: 1\n", "cannot start any token (line 1)"),
    ("# cloud-config\n", "is dropped by cloud-init"),
    ("---\n#cloud-config\n", "is dropped by cloud-init"),
    ("# mine\n#cloud-config\n", "is dropped by cloud-init"),
    ("I2Nsb3VkLWNvbmZpZwo=", "is dropped by cloud-init"),
    ('{"ignition": {"version": "3.4.0"}}', "is dropped by cloud-init"),
    ("<!DOCTYPE html>\n<html></html>\n", "is dropped by cloud-init"),
    ("Content-Type: multipart/mixed\n", "MIME-Version"),
    ("x" * 5000 + "\nMIME-Version: 1.0\n", "MIME-Version"),
    ("\ufeff#cloud-config\n", "byte-order mark"),
    ("#cloud-config\nusers: [\n  bad\n", "is not YAML: expected ',' or ']', but got '<stream end>' "),
    ("#cloud-config\nusers:\n\t- bad\n", "is not YAML: found character '\\t'"),
    ("#cloud-config\npassword: *hunter2\n", "is not YAML: found undefined alias (line 2)"),
    ("#cloud-config\njust text\n", "no mapping in YAML"),
    ("#cloud-config\n- a\n- b\n", "no mapping in YAML"),
    ("#Cloud-Config\n\n- a\n", "no mapping in YAML"),
    ("#cloud-config\n" + "[" * 100_000, "nested deeper"),
    ("#cloud-config\na: 1\n---\nb: 2\n", "second document"),
    ("#cloud-config-archive\na: 1\n", "no list in YAML"),
    ("#cloud-config-jsonp\n{}\n", "no list in JSON"),
    ("#cloud-config-jsonp\n" + "[" * 100_000, "no list in JSON"),
    ("\n#!/bin/sh\n", "has blanks before #!, which must come first"),
    ("\n## template: jinja\n#cloud-config\n", "has blanks before ## template: jinja"),
    ("## template: jinja\npackages: [vim]\n", "template of nothing"),
    (MESSAGE.format("Content-Type: text/cloud-config", "users: ["), "is not YAML"),
    (MESSAGE.format("Content-Type: text/plain", "#cloud-config\n- a"), "no mapping"),
    ("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n--b\n\n#!/bin/sh\n--b--\n", "is its boundary right?"),
    ("MIME-Version: 1.0\nContent-Type: text/html\n\n<html>", "without a part"),
    ("MIME-Version: 1.0\n\nhello\n", "without a part"),
    ("MIME-Version: 1.0\n" + 'Content-Type: multipart/mixed; boundary="b"\n\n--b\n' * 200, "more than 100 boundaries"),
]  # fmt: skip

DROPPED = ("is dropped by cloud-init", BAD[0][1], "MIME-Version")


@pytest.mark.parametrize("text", GOOD)
def test_what_cloud_init_takes_goes_in_untouched(text: str) -> None:
    user_data.judge(text)
    for key in ("user_data", "cloud-config"):
        found = described({"ram": "1G", key: text}).machine.guest.user_data
        assert found == Document(inline=text.removesuffix("\n"), key=key)


@pytest.mark.parametrize(("text", "reason"), BAD)
def test_what_cloud_init_drops_is_refused_and_not_shown(text: str, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        user_data.judge(text)
    assert reason in caught.value.rule
    assert caught.value.hidden
    assert "hunter2" not in caught.value.rule


@pytest.mark.parametrize(("text", "reason"), [case for case in BAD if case[1] not in DROPPED])
@pytest.mark.parametrize("key", ["user_data", "cloud-config"])
def test_the_key_is_held_to_the_same_rule(key: str, text: str, reason: str) -> None:
    (line,) = faults({"ram": "1G", key: text})
    assert line.startswith(f"{key}: ")
    assert reason in line


def test_what_is_no_text_for_cloud_init_may_have_been_meant_as_a_place() -> None:
    for text in ("packages: [vim]\na: b\n", "ftp://example.org/a", "/images/user-data"):
        (line,) = faults({"ram": "1G", "user_data": text})
        assert "must be an http or https URL, file: and a path, or text that starts with" in line


@pytest.mark.parametrize("key", ["user_data", "meta_data", "network_config"])
def test_an_empty_document_is_none(key: str) -> None:
    for text in ("", "\n", "  \n\n"):
        assert getattr(described({"ram": "1G", key: text}).machine.guest, key) is None


SALT = "F5Jx5fSalt"
HASHES = [
    f"$1$F5Jx5fSa${'a' * 22}",
    f"$2a$10${'a' * 53}",
    f"$2y$10${'a' * 53}",
    f"$5${SALT}${'a' * 43}",
    f"$5$rounds=5000${SALT}${'a' * 43}",
    f"$6${SALT}${'a' * 86}",
    f"$6$rounds=100000${SALT}${'./0' * 28}ab",
]
PLAIN = [
    "$",
    "$$",
    "$ecret",
    "$ecret$Password",
    "pa$$word",
    "$HOME$PATH",
    "p$6$a$b",
    ": \" ' \\ #é",
]
UNKNOWN = [
    f"$y$j9T${SALT}${'a' * 43}",
    f"$gy$j9T${SALT}${'a' * 43}",
    f"$7$CU..../....{SALT}${'a' * 43}",
    f"$2b$10${'a' * 53}",
    f"$2x$10${'a' * 53}",
    f"$sha1$480000${SALT}${'a' * 28}",
    f"$md5,rounds=904${SALT}${'a' * 22}",
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b27hg",
    f"$apr1${SALT}${'a' * 22}",
    f"$5$${'a' * 43}",
    f"$6$${'a' * 86}",
    f"$6${SALT}${'a' * 85}",
    f"$6${SALT}$",
    "$6$a$b",
    f"$new$j9T${SALT}${'a' * 43}",
]  # fmt: skip


@pytest.mark.parametrize("password", HASHES + PLAIN)
def test_a_password_or_a_hash_that_cloud_init_knows(password: str) -> None:
    keys = {"ram": "1G", "default_user_password": password}
    assert described(keys).machine.guest.password == password


@pytest.mark.parametrize("password", UNKNOWN)
def test_a_hash_that_would_become_the_password_is_refused(password: str) -> None:
    (line,) = faults({"ram": "1G", "default_user_password": password})
    assert "`mkpasswd -m sha-512`" in line
    assert password not in line


def test_lists_that_another_system_has_written() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBxWcKcGcTnGZ0C1kcWc7N3mIHSFTzlc8sO8vOYPlO1X"
    guest = described(
        {"ram": "1G", "ssh_authorized_keys": f"# mine\r\n{key} a\r\n\r\n{key} b\r\n", "cmds": "a\r\nb\r\n"}
    ).machine.guest  # fmt: skip
    assert guest.ssh_authorized_keys == (f"{key} a", f"{key} b")
    assert guest.commands == ("a", "b")
