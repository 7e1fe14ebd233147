"""Environment and host.toml, read once and in full: everything that is wrong is reported together."""

from collections.abc import Mapping, Sequence
from enum import StrEnum, auto

from holdfast import grammar, keys
from holdfast.config import endpoint
from holdfast.config.endpoint import Endpoint, Protocol
from holdfast.config.environment import Environment
from holdfast.dataclass import dataclass, field
from holdfast.errors import UsageError
from holdfast.grammar import Refused, identifier
from holdfast.policy import host_config
from holdfast.policy.host_config import HostConfig

__all__ = [
    "Endpoint",
    "EtcdLoss",
    "HostConfig",
    "LogFormat",
    "LogLevel",
    "Settings",
    "parse",
]

# The only variables that stand for keys; none is found by writing a key in capitals.
OVERRIDES = {
    "VM_RAM": "ram",
    "VM_MAC": "mac",
    "VM_RBD": "rbd",
    "SPICE_PORT": "spice_port",
    "EXTRA_FLAGS": "extra_flags",
    "CLOUD_CONFIG": "cloud-config",
    "STOP_TIMEOUT": "stop_timeout",
}
PREFIX = "/kvm"
CEPH_CONF = "/etc/ceph/ceph.conf"
TTL = 10
LEAST_TTL, MOST_TTL = 5, 600  # etcd silently raises a smaller one to its election time-out
LEAST_TTL_TO_STOP = 10  # below it, one election of etcd could stop the VM


class EtcdLoss(StrEnum):
    """What becomes of a running VM when etcd stays away."""

    auto = "auto"
    hold = "hold"
    stop = "stop"


class LogLevel(StrEnum):
    debug = auto()
    info = auto()
    warning = auto()
    error = auto()


class LogFormat(StrEnum):
    text = auto()
    json = auto()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`vm` is "" where none is named. `lock` is "" where none is to be held: then, and with VM_FILE."""

    vm: str = ""
    prefix: str = PREFIX
    lock: str = ""
    ttl: int = TTL
    endpoints: tuple[Endpoint, ...] = ()
    etcd_cacert: str = ""
    etcd_cert: str = ""
    etcd_key: str = ""
    etcd_username: str = ""
    etcd_password_file: str = ""
    etcd_protocol: Protocol = Protocol.json
    host: str = ""
    arch: str = "x86_64"  # of the host: what a VM without the key `arch` is
    bridge: str = ""
    ceph_conf: str = CEPH_CONF
    overrides: Mapping[str, str] = field(default_factory=dict)
    lock_wait: float | None = None
    config_wait: bool = False
    stay: bool = False
    exec_: bool = False
    memory_reckoned: int | None = None  # 0: whoever made the container could not tell
    etcd_loss: EtcdLoss = EtcdLoss.auto
    log_level: LogLevel = LogLevel.info
    log_format: LogFormat = LogFormat.text
    vm_file: str = ""
    options: tuple[str, ...] = ()
    host_config: HostConfig = field(default_factory=HostConfig)

    def key(self, name: str) -> str:
        return f"{self.prefix}/{self.vm}/{name}"

    @property
    def vm_prefix(self) -> str:
        return self.key("")

    @property
    def own_prefix(self) -> str:
        """What Holdfast keeps of the VM, out of reach of a hand that deletes its keys."""
        return f"{self.prefix}/_own/{self.vm}/"

    @property
    def defaults_prefix(self) -> str:
        return f"{self.prefix}/_defaults/"


def parse(
    environ: Mapping[str, str], *, host_toml: str | None = None, options: Sequence[str] = ()
) -> Settings:
    """`options` are QEMU's own, where the arguments are options and no command."""
    environment = Environment(environ)
    vm, prefix, lock = _identity(environment)
    vm_file = environment.read("VM_FILE", grammar.line(4096), "")
    etcd = endpoint.access(environment)
    settings = Settings(
        vm=vm or _name_of(environment, vm_file),
        prefix=prefix,
        lock=(lock or f"{prefix}/{vm}/lock") if vm and not vm_file else "",
        ttl=environment.read("TTL", grammar.whole(LEAST_TTL, MOST_TTL), TTL),
        endpoints=etcd.endpoints if vm and not vm_file else (),
        etcd_cacert=etcd.cacert,
        etcd_cert=etcd.cert,
        etcd_key=etcd.key,
        etcd_username=etcd.username,
        etcd_password_file=etcd.password_file,
        etcd_protocol=etcd.protocol,
        host=environment.read("HOSTNAME", identifier.host, ""),
        bridge=environment.read("BRIDGE_IF", identifier.interface, ""),
        ceph_conf=environment.read("CEPH_CONF", identifier.path, CEPH_CONF),
        overrides={key: value for name, key in OVERRIDES.items() if (value := environ.get(name))},
        lock_wait=environment.read("LOCK_WAIT", _wait, None),
        config_wait=environment.read("CONFIG_WAIT", grammar.switch, False),
        stay=environment.read("STAY", grammar.switch, False),
        exec_=environment.read("EXEC", grammar.switch, False),
        memory_reckoned=environment.read("MEMORY_RECKONED", grammar.size(), None),
        etcd_loss=environment.read("ETCD_LOSS", grammar.choice(EtcdLoss), EtcdLoss.auto),
        log_level=environment.read("LOG_LEVEL", grammar.choice(LogLevel), LogLevel.info),
        log_format=environment.read("LOG_FORMAT", grammar.choice(LogFormat), LogFormat.text),
        vm_file=vm_file,
        options=tuple(options),
        host_config=host_config.parse(host_toml, environment.faults),
    )
    _contradictions(environment, settings)
    if environment.faults:
        raise UsageError(environment.faults)
    return settings


def _identity(environment: Environment) -> tuple[str, str, str]:
    """VM, tree and lock. Whoever names one of them twice must name the same."""
    lock = environment.read("LOCK", _lock, "")
    tree, locked_vm = lock.split("/")[:-2], lock.split("/")[-2:-1]
    vms = {
        "VM": environment.read("VM", identifier.name, ""),
        "INSTANCE": environment.read("INSTANCE", identifier.name, ""),
        "LOCK": "".join(locked_vm),
    }
    prefixes = {
        "KEY_PREFIX": environment.read("KEY_PREFIX", _prefix, ""),
        "LOCK": "/".join(tree),
    }
    return _agreed(environment, vms, "VM"), _agreed(environment, prefixes, "tree") or PREFIX, lock


def _agreed(environment: Environment, named: Mapping[str, str], what: str) -> str:
    given = {variable: value for variable, value in named.items() if value}
    first, agreed = next(iter(given.items()), ("", ""))
    for variable, value in given.items():
        if value != agreed:
            rule = f"names the {what} {value}, but {first} names {agreed}"
            environment.refuse(variable, rule)
    return agreed


def _name_of(environment: Environment, vm_file: str) -> str:
    """A VM from a file is called like the file, where no variable names it."""
    stem = vm_file.rpartition("/")[2].partition(".")[0]
    try:
        return identifier.name(stem) if vm_file else ""
    except Refused:
        environment.refuse("VM_FILE", "gives the VM no name by its own: set VM too", vm_file)
        return ""


def _contradictions(environment: Environment, settings: Settings) -> None:
    """What would leave out something that was asked for, above all the lock."""
    given = environment.variables
    if settings.vm_file and given.get("LOCK"):
        environment.refuse("LOCK", "needs etcd, which VM_FILE does without: unset one of them")
    if settings.exec_ and settings.lock:
        vm = settings.vm
        rule = f"holds no lock, and VM {vm} must not run without: unset EXEC, or VM, INSTANCE and LOCK"
        environment.refuse("EXEC", rule)
    if settings.memory_reckoned is not None and not (settings.endpoints and not settings.options):
        environment.refuse("MEMORY_RECKONED", "is for a VM whose keys are in etcd: unset it")
    if settings.etcd_loss is EtcdLoss.stop and settings.ttl < LEAST_TTL_TO_STOP:
        rule = f"must be at least {LEAST_TTL_TO_STOP} with ETCD_LOSS=stop"
        environment.refuse("TTL", rule, str(settings.ttl))


def _prefix(text: str) -> str:
    if not text.startswith("/") or not all(map(_is_part, text[1:].split("/"))):
        raise Refused("must be a tree of etcd such as /kvm: a leading / and none at the end")
    return text


def _lock(text: str) -> str:
    """The full key of the lock: tree, VM, name."""
    parts = text.split("/")
    if len(parts) < 4 or not all(map(_is_part, parts[1:])) or parts[0]:  # noqa: PLR2004 - "", tree, VM, name
        raise Refused("must be the key of a lock such as /kvm/7/lock")
    try:
        identifier.name(parts[-2])
    except Refused as refused:
        raise Refused(f"names a VM, which {refused.rule}", part=parts[-2]) from None
    if parts[-1] != "lock" and keys.is_taken(parts[-1]):
        raise Refused(f"is the key {parts[-1]} of the VM, not a lock")
    return text


def _is_part(part: str) -> bool:
    return identifier.consists_of(part, identifier.WORD) and part not in (".", "..")


def _wait(text: str) -> float | None:
    if text == "forever":
        return None
    try:
        return float(grammar.whole(0, 10**9)(text))
    except Refused:
        raise Refused("must be a number of seconds, or forever") from None
