"""Changes of the kernel's links, by pyroute2, in a process that ends with them.

The launcher asks `change`; the work is `python3 -m holdfast.network.links`, a JSON request in and an
answer out, so that 24 MiB are not kept for the life of a VM.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from holdfast.errors import HostLacks

PATIENCE = 20.0  # seconds
KERNEL_MODES = {"passthrough": "passthru"}
Request = dict[str, Any]


def change(what: str, **arguments: Any) -> int:
    """Change a link; return its index. Raises HostLacks with the kernel's reason."""
    request = json.dumps({"what": what, "arguments": arguments})
    command = [sys.executable, "-P", "-m", "holdfast.network.links"]
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise HostLacks(f"the kernel did not change a link within {PATIENCE:g} s") from error
    if done.returncode != 0:
        raise HostLacks(f"pyroute2 cannot be used here: {done.stderr.strip()[-300:]}")
    answer = json.loads(done.stdout)
    if reason := answer.get("error"):
        raise HostLacks(reason["message"], hint=reason["hint"])
    return int(answer["index"])


def vlan(rtnetlink: Any, *, port: str, number: int, default: int) -> int:
    """Tie a port to a VLAN: its frames leave untagged, and what comes in belongs to no other."""
    index = _index(rtnetlink, port)
    if default:
        rtnetlink.vlan_filter("del", index=index, vlan_info={"vid": default})
    flags = ["pvid", "untagged"]
    rtnetlink.vlan_filter("add", index=index, vlan_info={"vid": number, "flags": flags})
    return index


def macvtap(rtnetlink: Any, *, name: str, alias: str, device: str, mode: str, mac: str) -> int:
    mode = KERNEL_MODES.get(mode, mode)
    parent = _index(rtnetlink, device)
    rtnetlink.link("add", ifname=name, kind="macvtap", link=parent, macvtap_mode=mode)
    index = _index(rtnetlink, name)
    # Not before: a link in mode passthrough is born with the address of its device.
    rtnetlink.link("set", index=index, address=mac, ifalias=alias)
    rtnetlink.link("set", index=index, state="up")
    return index


def delete(rtnetlink: Any, *, name: str) -> int:
    """Delete a link, which may have gone with its device."""
    found = rtnetlink.link_lookup(ifname=name)
    if found:
        rtnetlink.link("del", index=found[0])
    return found[0] if found else 0


def _index(rtnetlink: Any, name: str) -> int:
    found: list[int] = rtnetlink.link_lookup(ifname=name)
    if not found:
        raise OSError(19, f"there is no interface {name} on this host")
    return found[0]


CHANGES: dict[str, Callable[..., int]] = {"vlan": vlan, "macvtap": macvtap, "delete": delete}
HINTS = {
    1: "Add `--cap-add NET_ADMIN` to docker run.",  # EPERM
    16: "A port of a bridge has no room for a macvtap link, nor has the device of one in mode passthrough.",  # EBUSY
    95: "The kernel lacks it: macvtap, or VLAN filtering on bridges (CONFIG_BRIDGE_VLAN_FILTERING).",  # EOPNOTSUPP
}


def main() -> None:
    from pyroute2 import IPRoute, NetlinkError  # noqa: PLC0415 - the launcher imports this module, too

    request = json.load(sys.stdin)
    answer: Request
    try:
        with IPRoute() as rtnetlink:
            index = CHANGES[request["what"]](rtnetlink, **request["arguments"])
        answer = {"index": index}
    except (NetlinkError, OSError) as error:
        number = int(getattr(error, "code", 0) or getattr(error, "errno", 0) or 0)
        where = " ".join(str(value) for value in request["arguments"].values())
        reason = (
            error.strerror
            if isinstance(error, OSError) and error.strerror
            else os.strerror(number)
        )
        message = f"{request['what']} {where}: {reason}"
        answer = {"error": {"message": message, "hint": HINTS.get(number, "")}}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
