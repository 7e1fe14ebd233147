"""The keys of a shared folder."""

from holdfast.grammar import identifier, switch
from holdfast.keys.row import Key
from holdfast.policy.host_config import HostConfig

# fmt: off
SHARES = (
    Key(name="shares/<name>/path", parse=identifier.path, permit=HostConfig.permit_share, field="path", value="path",
        hardware=True, doc="a folder of the host; the guest mounts it with `mount -t virtiofs <name> ...`"),
    Key(name="shares/<name>/read_only", parse=switch, field="read_only", value="switch", default="off", hardware=True,
        doc="held on the host's side, whatever the guest tries"),
    Key(name="shares/<name>/mount", parse=identifier.path, field="mount", value="path in the guest",
        doc="where cloud-init mounts it, at every boot"),
)
