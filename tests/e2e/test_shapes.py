"""Compose files and env files as people write them: what docker makes of them, and what we say to that."""

import json
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from container import docker

from holdfast.config.settings import parse
from holdfast.description import describe
from holdfast.errors import HoldfastError

pytestmark = pytest.mark.e2e

ETCD = "etcd:2379"
QUOTES = "take quotes literally"


def verdict(environ: Mapping[str, str]) -> str:
    """The VM with its etcd; or all that is wrong."""
    try:
        settings = parse(environ, host_toml="")
        describe(settings, {"ram": b"1G"}, {})
    except HoldfastError as error:
        return "\n".join(error.lines())
    return f"{settings.vm} at {' '.join(map(str, settings.endpoints))}"


ENV_FILES = [
    ("plain", "VM=7\nETCD_ENDPOINTS=http://etcd:2379\n", f"7 at {ETCD}"),
    ("comments and blank lines", "# the VM\n\nVM=7\nETCD_ENDPOINTS=etcd\n", f"7 at {ETCD}"),
    ("line ends of DOS", "VM=7\r\nETCD_ENDPOINTS=http://etcd:2379\r\n", f"7 at {ETCD}"),
    ("double quotes", 'VM="7"\n', QUOTES),
    ("single quotes", "VM=7\nTTL='10'\n", QUOTES),
    ("quotes around a path", 'VM=7\nCEPH_CONF="/etc/ceph/ceph.conf"\n', QUOTES),
    ("an empty value", "VM=7\nLOCK=\nTTL=\nETCD_ENDPOINTS=etcd:2379\n", f"7 at {ETCD}"),
    ("a value in blanks", "VM=7\nETCD_ENDPOINTS= etcd \n", f"7 at {ETCD}"),
    (
        "a link's variables",
        "VM=7\nETCD_PORT=tcp://10.0.0.5:2379\nETCD_ENDPOINTS=etcd\n",
        f"7 at {ETCD}",
    ),
    (
        "a service called spice",
        "VM=7\nSPICE_PORT=tcp://10.0.0.6:5900\n",
        "enableServiceLinks: false",
    ),
    ("a MAC", "VM=7\nVM_MAC=52:54:00:12:34:56\nETCD_ENDPOINTS=etcd\n", f"7 at {ETCD}"),
    (
        "the origin's",
        "INSTANCE=7\nETCD_ENDPOINTS=http://etcd:2379\nHOSTNAME=kvm1\n",
        f"7 at {ETCD}",
    ),
    ("two VMs", "INSTANCE=8\nLOCK=/kvm/7/lock\n", "LOCK: names the VM 7, but INSTANCE names 8"),
    ("several faults", "VM=Web_1\nTTL=1\nSTAY=maybe\n", "VM: 'Web_1'"),
]


@pytest.mark.parametrize(
    ("text", "said"), [case[1:] for case in ENV_FILES], ids=[case[0] for case in ENV_FILES]
)
def test_an_env_file(engine: None, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "vm.env"
    file.write_bytes(text.encode())
    container = docker("create", f"--env-file={file}", "holdfast").strip()
    try:
        listed = json.loads(docker("inspect", "--format={{json .Config.Env}}", container))
    finally:
        docker("rm", container)
    assert said in verdict(dict(one.split("=", 1) for one in listed))


# The service `vm`; what is said to its environment, or by compose itself.
COMPOSE = [
    ("a map", "environment: {VM: 7, ETCD_ENDPOINTS: etcd}", f"7 at {ETCD}"),
    ("a list", "environment: [VM=7, 'ETCD_ENDPOINTS=http://etcd:2379']", f"7 at {ETCD}"),
    ("a list with quotes in it", """environment: ['VM="7"']""", QUOTES),
    ("switches of YAML", "environment: {VM: 7, STAY: on, CONFIG_WAIT: yes, ETCD_ENDPOINTS: etcd}", f"7 at {ETCD}"),
    ("a real switch", "environment: {VM: 7, STAY: true, ETCD_ENDPOINTS: etcd}", f"7 at {ETCD}"),
    ("a MAC that YAML might count", "environment: {VM: 7, VM_MAC: 52:54:00:12:34:56, ETCD_ENDPOINTS: etcd}", f"7 at {ETCD}"),
    ("a default", "environment: {VM: '${NOBODY:-7}', ETCD_ENDPOINTS: etcd}", f"7 at {ETCD}"),
    ("a variable that nobody set", "environment: {VM: 7, TTL: '${NOBODY}', ETCD_ENDPOINTS: etcd}", f"7 at {ETCD}"),
    ("an env file, whose quotes compose takes off", "env_file: quoted.env", f"7 at {ETCD}"),
    ("as the origin ran it", "privileged: true\nnetwork_mode: host\nenvironment: {INSTANCE: 7, ETCD_ENDPOINTS: 127.0.0.1}",
     "7 at 127.0.0.1:2379"),
    ("with an init and a policy", "init: true\nrestart: unless-stopped\nenvironment: {VM: 7, ETCD_ENDPOINTS: etcd}",
     f"7 at {ETCD}"),
    ("line ends of DOS", "restart: always\r\nenvironment:\r\n  VM: 7\r\n  ETCD_ENDPOINTS: etcd\r\n", f"7 at {ETCD}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("service", "said"), [case[1:] for case in COMPOSE], ids=[case[0] for case in COMPOSE]
)
def test_a_compose_file(tmp_path: Path, service: str, said: str) -> None:
    (tmp_path / "quoted.env").write_text(
        "VM=\"7\"\nETCD_ENDPOINTS='http://etcd:2379'\n", encoding="ascii"
    )
    text = f"services:\n  vm:\n    image: holdfast\n{textwrap.indent(service, '    ')}\n"
    (tmp_path / "compose.yml").write_bytes(text.encode())
    done = subprocess.run(
        ["docker", "compose", "config", "--format=json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        assert said in done.stderr
        return
    environ = json.loads(done.stdout)["services"]["vm"]["environment"]
    assert said in verdict({name: value or "" for name, value in environ.items()})
