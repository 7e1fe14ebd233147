"""libnftables, as far as a VM's table needs it.

python3-nftables is the same few calls, and brings a JSON schema validator with it that is larger
than the library. The netlink socket of the context is what owns the table: it must stay open.
"""

import ctypes
import os
import socket
import threading
from contextlib import suppress

from holdfast.errors import HostLacks

LIBRARY = "libnftables.so.1"
AS_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON
NETLINK_NETFILTER = 12
_turn = threading.Lock()  # to open a context, whose socket is told by what was not there before


class Nftables:
    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            hint = "Debian has it in libnftables1."
            raise HostLacks(f"{LIBRARY} is not installed", hint=hint) from error
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
            getattr(self._library, name).restype = ctypes.c_char_p
        with _turn:
            before = _sockets()
            self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
            self._sockets = _sockets() - before
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_buffer_output(self._context)

    def run(self, commands: str) -> str:
        """Run all of them or none; return what a `list` prints. Raises HostLacks."""
        failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        said = self._library.nft_ctx_get_error_buffer(self._context).decode(errors="replace")
        if failed:
            raise HostLacks(
                f"nftables refuses: {' '.join(said.split())}",
                hint="It takes CAP_NET_ADMIN, and a kernel of 5.12 or later with nf_tables and NAT.",
            )
        printed: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        return printed.decode(errors="replace")

    def elements(self, table: str, name: str) -> list[tuple[int, int]]:
        """List a set of numbers that expire, each with the seconds left. Raises HostLacks."""
        import json  # noqa: PLC0415 - nearly always there

        self._library.nft_ctx_output_set_flags(self._context, AS_JSON)
        try:
            said = json.loads(self.run(f"list set {table} {name}"))
        finally:
            self._library.nft_ctx_output_set_flags(self._context, 0)
        sets = [one["set"] for one in said["nftables"] if "set" in one]
        given = [one["elem"] for found in sets for one in found.get("elem", ())]
        return [(int(one["val"]), int(one.get("expires", 0))) for one in given]

    def kept(self) -> list[int]:
        """Copy what the tables live by once this is closed: they go with these descriptors."""
        return [os.dup(one) for one in self._sockets]

    def close(self) -> None:
        """Give back four MiB, which the allocator and ctypes would keep while the VM runs."""
        self._library.nft_ctx_free(self._context)
        process = ctypes.CDLL(None)
        process.dlclose(ctypes.c_void_p(self._library._handle))  # noqa: SLF001 - the public name has no end
        process.malloc_trim(0)


def _sockets() -> set[int]:
    """Those to netfilter that are open."""
    found = set()
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - names that are numbers
        with suppress(OSError):  # no socket, or closed meanwhile
            one = socket.socket(fileno=number)
            if (one.family, one.proto) == (socket.AF_NETLINK, NETLINK_NETFILTER):
                found.add(number)
            one.detach()  # nothing of ours
    return found
