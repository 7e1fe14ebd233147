"""Keys as a test writes them, and what becomes of them."""

from collections.abc import Mapping

import pytest

from holdfast.config import settings
from holdfast.description import Description, describe
from holdfast.errors import ConfigError
from holdfast.machine import Machine

HOST_TOML = """
image_paths = ["/images"]
[pools.default]
kind = "directory"
path = "/pool"
[pools.ceph]
kind = "rbd"
pool = "vms"
[pools.far]
kind = "rbd"
pool = "vms"
namespace = "space"
hosts = ["ceph.example:3300", "fd00::1"]
user = "client.zoe"
key_file = "/etc/holdfast/zoe.key"
"""
Keys = Mapping[str, str]


def described(
    own: Keys,
    defaults: Keys | None = None,
    environ: Keys | None = None,
    *,
    host_toml: str = HOST_TOML,
    options: tuple[str, ...] = (),
) -> Description:
    variables = {"VM": "7", "HOSTNAME": "node1", **(environ or {})}
    config = settings.parse(variables, host_toml=host_toml, options=options)
    return describe(config, encoded(own), encoded(defaults or {}))


def encoded(keys: Keys) -> dict[str, bytes]:
    return {key: text.encode() for key, text in keys.items()}


def machine(own: Keys, defaults: Keys | None = None, environ: Keys | None = None) -> Machine:
    return described(own, defaults, environ).machine


def faults(own: Keys, defaults: Keys | None = None, environ: Keys | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        described(own, defaults, environ)
    return caught.value.lines()
