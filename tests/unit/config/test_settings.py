"""Environment and host.toml -> Settings."""

from collections.abc import Iterator, Mapping

import pytest

from holdfast.config.settings import Endpoint, EtcdLoss, HostConfig, Settings, parse
from holdfast.errors import UsageError
from holdfast.keys import reference
from holdfast.launcher.run import trusting
from holdfast.machine.ceph import Access, Monitor
from holdfast.policy.pool import DirectoryPool, RbdPool


def faults(environ: Mapping[str, str], host_toml: str = "") -> list[str]:
    with pytest.raises(UsageError) as caught:
        parse(environ, host_toml=host_toml)
    return caught.value.lines()


def test_nothing_is_set() -> None:
    assert parse({}) == Settings()


def test_an_empty_variable_counts_as_unset() -> None:
    names = [variable.name for variable in reference.VARIABLES]
    assert parse(dict.fromkeys(names, "")) == Settings()


@pytest.mark.parametrize(
    ("environ", "hint"),
    [
        ({"VM": '"7"'}, "docker's --env-file and -e take quotes literally"),
        ({"VM": "7", "TTL": "'10'"}, "docker's --env-file and -e take quotes literally"),
    ],
)
def test_what_an_engine_made_of_a_value(environ: Mapping[str, str], hint: str) -> None:
    (line,) = faults(environ)
    assert hint in line


@pytest.mark.parametrize(
    ("environ", "vm", "prefix", "lock"),
    [
        ({"VM": "7"}, "7", "/kvm", "/kvm/7/lock"),
        ({"INSTANCE": "7"}, "7", "/kvm", "/kvm/7/lock"),
        ({"LOCK": "/kvm/7/lock"}, "7", "/kvm", "/kvm/7/lock"),
        ({"LOCK": "/site/a/vms/7/mutex"}, "7", "/site/a/vms", "/site/a/vms/7/mutex"),
        ({"VM": "7", "INSTANCE": "7", "LOCK": "/kvm/7/lock"}, "7", "/kvm", "/kvm/7/lock"),
        ({"VM": "7", "KEY_PREFIX": "/a/b"}, "7", "/a/b", "/a/b/7/lock"),
        ({"KEY_PREFIX": "/a", "LOCK": "/a/7/lock"}, "7", "/a", "/a/7/lock"),
        ({"VM_FILE": "/etc/kvm/web-1.yaml"}, "web-1", "/kvm", ""),
        ({"VM_FILE": "/etc/kvm/Web.yaml", "VM": "web"}, "web", "/kvm", ""),
        ({}, "", "/kvm", ""),
    ],
)
def test_which_vm(environ: Mapping[str, str], vm: str, prefix: str, lock: str) -> None:
    settings = parse(environ)
    assert (settings.vm, settings.prefix, settings.lock) == (vm, prefix, lock)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"VM": "7", "INSTANCE": "8"}, "INSTANCE: names the VM 8, but VM names 7"),
        ({"VM": "8", "LOCK": "/kvm/7/lock"}, "LOCK: names the VM 7, but VM names 8"),
        ({"INSTANCE": "8", "LOCK": "/kvm/7/lock"}, "LOCK: names the VM 7, but INSTANCE names 8"),
        (
            {"KEY_PREFIX": "/a", "LOCK": "/kvm/7/lock"},
            "LOCK: names the tree /kvm, but KEY_PREFIX names /a",
        ),
        (
            {"VM_FILE": "a.yaml", "LOCK": "/kvm/7/lock"},
            "LOCK: needs etcd, which VM_FILE does without: unset one of them",
        ),
        (
            {"VM": "7", "EXEC": "yes"},
            "EXEC: holds no lock, and VM 7 must not run without: unset EXEC, or VM, INSTANCE and LOCK",
        ),
        (
            {"VM_FILE": "/A.yaml"},
            "VM_FILE: '/A.yaml': gives the VM no name by its own: set VM too",
        ),
    ],
)
def test_variables_that_contradict_each_other(environ: Mapping[str, str], line: str) -> None:
    assert faults(environ) == [line]


def test_all_faults_at_once() -> None:
    environ = {"VM": "A", "TTL": "1", "STAY": "ture", "LOG_LEVEL": "foo"}
    found = faults(environ, "image_path = []\nbridges = 1\n")
    assert [line.partition(":")[0] for line in found] == [
        "VM", "TTL", "STAY", "LOG_LEVEL", "host.toml", "host.toml bridges",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("http://10.0.0.1:2379", [Endpoint(host="10.0.0.1", port=2379)]),
        ("http://a:1/,https://b:2", [Endpoint(host="a", port=1), Endpoint(host="b", port=2, tls=True)]),
        ("a:1 b:2", [Endpoint(host="a", port=1), Endpoint(host="b", port=2)]),
        ("[fd00::1]:2379", [Endpoint(host="fd00::1", port=2379)]),
        ("https://[::1]", [Endpoint(host="::1", port=2379, tls=True)]),
        ("a:1,a:1", [Endpoint(host="a", port=1)]),
        ("", [Endpoint(host="127.0.0.1", port=2379)]),
    ],
)  # fmt: skip
def test_endpoints(text: str, endpoints: list[Endpoint]) -> None:
    assert list(parse({"VM": "7", "ETCD_ENDPOINTS": text}).endpoints) == endpoints


def test_a_certificate_means_tls() -> None:
    settings = parse({"VM": "7", "ETCD_CACERT": "/ca.pem", "ETCD_ENDPOINTS": "a:1"})
    assert settings.endpoints == (Endpoint(host="a", port=1, tls=True),)
    assert parse({"VM": "7", "ETCD_CACERT": "/ca.pem"}).endpoints[0].tls


def test_endpoints_are_for_those_who_have_a_vm_in_etcd() -> None:
    assert parse({"ETCD_ENDPOINTS": "a:1"}).endpoints == ()
    assert parse({"ETCD_ENDPOINTS": "a:1", "VM_FILE": "a.yaml"}).endpoints == ()


def test_an_endpoint_is_spelled_as_it_is_read() -> None:
    assert str(Endpoint(host="fd00::1", port=1)) == "[fd00::1]:1"
    assert str(Endpoint(host="a", port=1)) == "a:1"


def test_the_rest_of_the_environment() -> None:
    settings = parse(
        {
            "VM": "7",
            "HOSTNAME": "node1.example.org",
            "BRIDGE_IF": "br0",
            "TTL": "30",
            "LOCK_WAIT": "0",
            "CONFIG_WAIT": "ON",
            "STAY": "1",
            "ETCD_LOSS": "hold",
            "VM_RAM": "2G",
            "EXTRA_FLAGS": "-name a",
        },
        options=["-m", "512"],
    )
    assert settings.host == "node1.example.org"
    assert settings.bridge == "br0"
    assert settings.ttl == 30
    assert settings.lock_wait == 0.0
    assert settings.config_wait
    assert settings.stay
    assert settings.etcd_loss is EtcdLoss.hold
    assert settings.overrides == {"ram": "2G", "extra_flags": "-name a"}
    assert settings.options == ("-m", "512")


def test_who_waits_how_long() -> None:
    assert parse({}).lock_wait is None
    assert parse({"LOCK_WAIT": "forever"}).lock_wait is None
    assert parse({"LOCK_WAIT": "90"}).lock_wait == 90.0


def test_the_keys_of_a_vm() -> None:
    settings = parse({"VM": "7", "KEY_PREFIX": "/a/b"})
    assert settings.key("ram") == "/a/b/7/ram"
    assert settings.vm_prefix == "/a/b/7/"
    assert settings.defaults_prefix == "/a/b/_defaults/"


def test_host_toml() -> None:
    text = """
        image_paths = ["/images/", "/srv/iso"]
        args_allowlist = []
        bridges = ["br0"]
        local_devices = ["/dev/vg0/*"]
        storage_fence = "time"
        default_pool = "fast"
        usb = ["1234:5678"]
        [pools.fast]
        kind = "directory"
        path = "/pool/fast/"
        [pools.ceph]
        kind = "rbd"
        pool = "vms"
        [pools.far]
        kind = "rbd"
        pool = "vms"
        namespace = "space"
        hosts = ["ceph1", "ceph2:3301", "10.0.0.1:6789", "fd00::1", "[fd00::2]", "[fd00:0::3]:3300"]
        user = "client.zoe"
        keyring = "/etc/holdfast/keyring"
    """
    assert parse({}, host_toml=text).host_config == HostConfig(
        image_paths=("/images/", "/srv/iso"),
        args_allowlist=(),
        bridges=("br0",),
        local_devices=("/dev/vg0/*",),
        usb=("1234:5678",),
        time_fence=True,
        default_pool="fast",
        pools={
            "fast": DirectoryPool(name="fast", path="/pool/fast"),
            "ceph": RbdPool(name="ceph", pool="vms"),
            "far": RbdPool(
                name="far",
                pool="vms",
                namespace="space",
                access=Access(
                    monitors=tuple(Monitor(host=host, port=port) for host, port in MONITORS),
                    user="zoe",
                    keyring="/etc/holdfast/keyring",
                ),
            ),
        },
    )


MONITORS = [
    ("ceph1", 3300),
    ("ceph1", 6789),
    ("ceph2", 3301),
    ("10.0.0.1", 6789),
    ("fd00::1", 3300),
    ("fd00::1", 6789),
    ("fd00::2", 3300),
    ("fd00::2", 6789),
    ("fd00::3", 3300),
]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("image_paths = [", "host.toml"),
        ("image_path = []", "host.toml"),
        ("image_paths = '/images'", "host.toml image_paths"),
        ("image_paths = [1]", "host.toml image_paths"),
        ("image_paths = ['images']", "host.toml image_paths"),
        ("image_paths = ['/images/../etc']", "host.toml image_paths"),
        ("args_allowlist = true", "host.toml args_allowlist"),
        ("a = " + "[" * 100_000, "host.toml: is not TOML"),
        ("local_devices = ['sdb']", "host.toml local_devices"),
        ("storage_fence = 'yes'", "host.toml storage_fence"),
        ("default_pool = 'a'", "host.toml default_pool"),
        ("default_pool = 1", "host.toml default_pool"),
        ("pools = 1", "host.toml pools"),
        ("pools.a = 1", "host.toml pools"),
        ("[pools.a]", "host.toml pools.a.kind"),
        ("[pools.a]\nkind = 'directory'", "host.toml pools.a.path"),
        ("[pools.a]\nkind = 'directory'\npath = 'a'", "host.toml pools.a.path"),
        ("[pools.a]\nkind = 'directory'\npath = '/a'\nsize = 1", "host.toml pools.a"),
        ("[pools.a]\nkind = 'directory'\npath = '/a'\npool = 'vms'", "host.toml pools.a"),
        ("[pools.a]\nkind = 'rbd'", "host.toml pools.a.pool"),
        *(
            (
                f"[pools.a]\nkind = 'rbd'\npool = 'vms'\n{name} = {value}",
                f"host.toml pools.a{where}",
            )
            for name, value, where in [
                ("path", "'/a'", ""),
                ("namespace", "'a/b'", ".namespace"),
                ("namespace", "7", ".namespace"),
                ("hosts", "'ceph1'", ".hosts"),
                ("hosts", "[]", ".hosts"),
                ("hosts", "['ceph1:0']", ".hosts"),
                ("hosts", "['fd00::1:6789z']", ".hosts"),
                ("hosts", "['[fd00::1']", ".hosts"),
                ("hosts", "['[ceph1]:3300']", ".hosts"),
                ("hosts", "['http://ceph1']", ".hosts"),
                ("hosts", "['a,b']", ".hosts"),
                ("user", "'zoe,id=x'", ".user"),
                ("keyring", "'keyring'", ".keyring"),
                ("key_file", "'/etc/key'", ".key_file"),
            ]
        ),
    ],
)
def test_a_bad_host_toml(text: str, key: str) -> None:
    (line,) = faults({}, text)
    assert line.startswith(f"{key}: ")


class Noting(Mapping[str, str]):
    """An environment that notes which variables it was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_every_variable_is_documented() -> None:
    noting = Noting()
    parse(noting)
    documented = {variable.name for variable in reference.VARIABLES}
    assert noting.asked | {"HOLDFAST_CONFIG"} == documented


TLS = {"VM": "7", "ETCD_ENDPOINTS": "https://etcd:2379", "ETCD_CACERT": "/ca.crt"}


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ({}, True),
        ({"ETCD_ENDPOINTS": "http://127.0.0.1:2379", "ETCD_CACERT": ""}, True),
        ({"ETCD_USERNAME": "launcher", "ETCD_PASSWORD_FILE": "/password"}, False),
        ({"ETCD_CERT": "/a.crt", "ETCD_KEY": "/a.key"}, False),
    ],
)
def test_an_etcd_that_asks_nobody_who_he_is_is_warned_of(
    more: Mapping[str, str], warned: bool
) -> None:
    assert ("guest" in trusting(parse({**TLS, **more}))) is warned
