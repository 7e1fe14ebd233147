"""What Ceph says of a VM's images, asked before anything is locked.

librados starts a dozen threads and may hang in a dead cluster, so the questions are asked by a
process of their own that ends: `python3 -m holdfast.storage.rbd`, JSON in, JSON out.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from holdfast.errors import ConfigError, Fault, HostLacks, Unreachable
from holdfast.machine import Disk, RbdImage
from holdfast.storage.keyring import Keyring

# connect(timeout=) is not honoured by librados; these are (seconds).
TIMEOUTS = {"client_mount_timeout": "5", "rados_mon_op_timeout": "5", "rados_osd_op_timeout": "5"}
PATIENCE = 20  # the whole inspection, in seconds


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """`fsid` tells one cluster from another; image names do not."""

    fsid: str


def inspect(disks: Sequence[Disk], keyring: Keyring) -> Cluster:
    """Check that every image is there and may be used.

    Raises ConfigError with a fault per disk, Unreachable when the cluster does not answer.
    """
    named = [
        {"disk": disk.name, "writable": disk.writable, **asdict(disk.backend)}
        for disk in disks
        if isinstance(disk.backend, RbdImage)
    ]
    request = {"conf": keyring.conf, "user": keyring.user, "key": keyring.key, "images": named}
    answer = _ask(request)
    if reason := answer.get("unreachable"):
        raise Unreachable(
            f"Ceph does not answer: {reason}",
            hint=f"check mon_host in {keyring.conf}, the network, and `ceph -s`",
        )
    if reason := answer.get("denied"):
        raise ConfigError(
            f"Ceph refuses client.{keyring.user}: {reason}",
            hint=f"compare `ceph auth get client.{keyring.user}` with the keyring",
        )
    if reason := answer.get("unreadable"):
        raise ConfigError(f"{keyring.conf} is no configuration of Ceph: {reason}")
    faults = [Fault(**fault) for fault in answer["faults"]]
    if faults:
        raise ConfigError(faults)
    return Cluster(fsid=answer["fsid"])


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "holdfast.storage.rbd"]
    try:
        # The key goes through the pipe: arguments can be read by everybody.
        done = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"unreachable": f"no answer within {PATIENCE} s"}
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode:
        raise HostLacks(
            f"librbd cannot be used here: {said[-1] if said else f'exit {done.returncode}'}"
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    if said and "unreachable" in answer:
        answer["unreachable"] += f" ({said[0]})"  # librados knows a name that it cannot resolve
    return answer


def main() -> None:
    """The other end of the pipe."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as pipe:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # librados talks to both
        json.dump(_answer(json.load(sys.stdin)), pipe)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    import rados  # noqa: PLC0415 - only this process pays for librados

    conf = {**TIMEOUTS, **({"key": request["key"]} if request["key"] else {})}
    user = request["user"]
    try:
        cluster = rados.Rados(conffile=request["conf"], rados_id=user, conf=conf)
    except rados.Error as error:
        return {"unreadable": str(error)}
    try:
        with cluster:
            faults = [
                fault for image in request["images"] for fault in _faults(cluster, image, user)
            ]
            return {"fsid": cluster.get_fsid(), "faults": faults}
    except (rados.PermissionError, rados.PermissionDeniedError) as error:
        return {"denied": str(error)}
    except rados.Error as error:
        return {"unreachable": str(error)}


def _faults(cluster: Any, image: dict[str, Any], user: str) -> list[dict[str, str]]:
    import rados  # noqa: PLC0415
    import rbd  # noqa: PLC0415

    name = str(RbdImage(pool=image["pool"], namespace=image["namespace"], image=image["image"]))
    needed = f"mon 'profile rbd', osd 'profile rbd pool={image['pool']}'"
    try:
        with cluster.open_ioctx(image["pool"]) as pool:
            pool.set_namespace(image["namespace"])
            rule = _judged(pool, image, name)
    except (rados.TimedOut, rbd.Timeout) as error:
        # The monitor gives a client without any right to OSDs no ticket, and it waits for one.
        reason = f"{name}: no OSD serves its pool, or client.{user} has no rights there: it needs {needed}"
        raise rados.TimedOut(reason) from error
    except rados.ObjectNotFound:
        rule = f"there is no pool {image['pool']} in this cluster: ceph osd pool create {image['pool']}"
    except rbd.ImageNotFound:
        rule = f"there is no such image: rbd create --size 20G {name}"
    except (rados.PermissionError, rados.PermissionDeniedError, rbd.PermissionError):
        verb = "write to" if image["writable"] else "read"
        rule = f"client.{user} may not {verb} it: it needs {needed}"
    except rbd.Error as error:
        rule = f"cannot be opened: {error}"
    return [{"key": f"disks/{image['disk']}", "value": name, "rule": rule}] if rule else []


def _judged(pool: Any, image: dict[str, Any], name: str) -> str:
    """Opened read-only: a writer would count as a user of the image."""
    import rados  # noqa: PLC0415
    import rbd  # noqa: PLC0415

    with rbd.Image(pool, image["image"], read_only=True) as opened:
        if not image["writable"]:
            return ""
        try:
            # The right to write, asked for without writing: there is no such object.
            pool.remove_object(f"{opened.block_name_prefix()}.holdfast")
        except rados.ObjectNotFound:
            pass
        if opened.features() & rbd.RBD_FEATURE_EXCLUSIVE_LOCK:
            return ""
    return f"lacks the feature exclusive-lock: rbd feature enable {name} exclusive-lock"


if __name__ == "__main__":
    main()
