"""The tables of docs/keys.md, made from what the program itself goes by."""

from collections.abc import Iterable, Iterator, Sequence

from holdfast.dataclass import dataclass
from holdfast.keys import SECTIONS, WRITTEN, Key
from holdfast.keys.extra_flags import DENIED
from holdfast.qemu.argv import harmless
from holdfast.qemu.argv.refused import REASONS

BEGIN, END = "<!-- table: {} -->", "<!-- end of table -->"


@dataclass(frozen=True, kw_only=True)
class Variable:
    name: str
    value: str
    default: str
    doc: str


# fmt: off
VARIABLES = (
    Variable(name="VM", value="name", default="`INSTANCE`, else from `LOCK`", doc="the VM to run"),
    Variable(name="INSTANCE", value="name", default="-", doc="the same, as the origin called it"),
    Variable(name="LOCK", value="key in etcd", default="`<tree>/<vm>/lock`", doc="the mutex; names tree and VM too"),
    Variable(name="KEY_PREFIX", value="key in etcd", default="from `LOCK`, else `/kvm`", doc="the tree of all VMs"),
    Variable(name="VM_FILE", value="path", default="-", doc="YAML file with the keys, instead of etcd and without a lock"),
    Variable(name="HOSTNAME", value="host name", default="-", doc="this host's name, which `host` is compared with"),
    Variable(name="BRIDGE_IF", value="interface", default="-", doc="bridge of the cards that name none"),
    Variable(name="CEPH_CONF", value="path", default="`/etc/ceph/ceph.conf`", doc="Ceph's configuration; the keyrings lie beside it"),
    Variable(name="VM_RAM", value="as `ram`", default="-", doc="instead of that key"),
    Variable(name="VM_MAC", value="as `mac`", default="-", doc="likewise"),
    Variable(name="VM_RBD", value="as `rbd`", default="-", doc="likewise"),
    Variable(name="SPICE_PORT", value="as `spice_port`", default="-", doc="likewise"),
    Variable(name="EXTRA_FLAGS", value="as `extra_flags`", default="-", doc="likewise; `args_allowlist` does not apply"),
    Variable(name="CLOUD_CONFIG", value="as `cloud-config`", default="-", doc="likewise; `image_paths` does not apply"),
    Variable(name="STOP_TIMEOUT", value="as `stop_timeout`", default="-", doc="likewise"),
    Variable(name="ETCD_ENDPOINTS", value="`[http[s]://]host:port`, `[v6]:port`; commas between",
             default="`http://127.0.0.1:2379`", doc="where etcd answers; used when a VM is named"),
    Variable(name="ETCD_CACERT", value="path", default="-", doc="the authority that signed etcd's certificate"),
    Variable(name="ETCD_CERT", value="path", default="-", doc="our certificate; needs `ETCD_KEY`"),
    Variable(name="ETCD_KEY", value="path", default="-", doc="its private key"),
    Variable(name="ETCD_PROTOCOL", value="`json grpc`", default="`json`", doc="etcd's JSON gateway, or gRPC, which needs 11 MiB more"),
    Variable(name="ETCD_USERNAME", value="text", default="-", doc="needs `ETCD_PASSWORD_FILE`, and https unless etcd is local"),
    Variable(name="ETCD_PASSWORD_FILE", value="path", default="-", doc="holds the password"),
    Variable(name="TTL", value="5 to 600 seconds", default="10", doc="of the lease; at least 10 with `ETCD_LOSS=stop`"),
    Variable(name="ETCD_LOSS", value="`auto hold stop`", default="`auto`", doc="what becomes of the VM when etcd stays away"),
    Variable(name="LOCK_WAIT", value="seconds, `forever`", default="`forever`", doc="how long to wait for the lock; 0 does not wait"),
    Variable(name="CONFIG_WAIT", value="switch", default="off", doc="a first start with faulty keys waits for better ones"),
    Variable(name="STAY", value="switch", default="off", doc="wait for the next start after the guest switched itself off"),
    Variable(name="MEMORY_RECKONED", value="size", default="-", doc="what `holdfast memory` said for this container, 0: nothing; the launcher "
             "ends (75) before it takes a VM whose keys ask for more"),
    Variable(name="EXEC", value="switch", default="off", doc="become QEMU: no lock, no supervision"),
    Variable(name="LOG_LEVEL", value="`debug info warning error`", default="`info`", doc="the least that is logged"),
    Variable(name="LOG_FORMAT", value="`text json`", default="`text`", doc="of Holdfast's own lines"),
    Variable(name="HOLDFAST_CONFIG", value="path", default="`/etc/holdfast/host.toml`", doc="host.toml; the image has one for hosts without"),
)
# fmt: on


def refreshed(document: str) -> str:
    """The document with its tables as they are now."""
    for name, rows in tables().items():
        before, begin, rest = document.partition(BEGIN.format(name))
        _, end, after = rest.partition(END)
        if not end:
            raise LookupError(f"no table {name} in the document")
        document = "\n".join([before + begin, *rows, end + after])
    return document


def tables() -> dict[str, list[str]]:
    sections = {
        name: list(_table(_KEY_HEAD, map(_key_row, keys))) for name, keys in SECTIONS.items()
    }
    return {
        **sections,
        "Environment": list(_table(_VARIABLE_HEAD, map(_variable_row, VARIABLES))),
        "Options of keys": [_list(f"-{name}" for name in sorted(harmless.OPTIONS))],
        "Refused options": [_list(f"-{name}" for name in sorted({*DENIED, *REASONS}))],
        "Written by Holdfast": [_list((*WRITTEN, "secret/..."))],
    }


_KEY_HEAD = ("key", "value", "default", "what it is")
_VARIABLE_HEAD = ("variable", "value", "default", "what it is")


def _key_row(key: Key) -> Sequence[str]:
    mark = " *" if key.hardware else ""
    return f"`{key.name}`{mark}", key.value, key.default, key.doc


def _variable_row(variable: Variable) -> Sequence[str]:
    return f"`{variable.name}`", variable.value, variable.default, variable.doc


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"
