"""`holdfast argv VM`: the keys as they stand in etcd, `_defaults` below them."""

import pytest
from etcd import Etcd

from holdfast.cli.argv import main

pytestmark = pytest.mark.integration


def test_keys_come_from_etcd(etcd_server: Etcd, capsys: pytest.CaptureFixture[str]) -> None:
    # A tree of its own: other tests share this etcd and must not see these _defaults.
    etcd_server.ctl("put", "/argv/web-1/cpus", "3")
    etcd_server.ctl("put", "/argv/web-10/cpus", "9")
    etcd_server.ctl("put", "/argv/_defaults/ram", "{{ 256 }}")
    environ = {"ETCD_ENDPOINTS": etcd_server.url, "KEY_PREFIX": "/argv", "HOSTNAME": "a"}
    assert main(["web-1"], environ) == 0
    command = capsys.readouterr().out
    assert "-name guest=web-1," in command
    assert "-smp 3 " in command
    assert "-m 256M " in command
