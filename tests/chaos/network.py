"""A bridge of the suite's own, and at it network namespaces that stand for hosts."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"
    return done.stdout


class Network:
    """`address` is the bridge's: etcd and Ceph listen there, and the hosts reach nothing else."""

    def __init__(self) -> None:
        tag = (
            os.getpid() % 100000
        )  # the pid namespace is the machine's: no two suites have one tag
        self._tag = f"hfc{tag}"
        self.bridge = f"{self._tag}br"
        # 198.18.0.0/15 is for tests of networks (RFC 2544): no real network is there.
        self._net = f"198.{18 + tag % 2}.{tag // 2 % 256}"
        self.address = f"{self._net}.1"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        # Of its own accord a bridge takes the lowest address of its ports, and changes it with them.
        run("ip", "link", "add", self.bridge, "address", "02:00:00:00:00:01", "type", "bridge")
        self._stack.callback(run, "ip", "link", "del", self.bridge)
        run("ip", "addr", "add", f"{self.address}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def host(self, number: int) -> "Namespace":
        return self._stack.enter_context(self._namespace(number))

    @contextmanager
    def _namespace(self, number: int) -> Iterator["Namespace"]:
        name, near, far = f"{self._tag}h{number}", f"{self._tag}v{number}", f"{self._tag}w{number}"
        address = f"{self._net}.{10 + number}"
        run("ip", "netns", "add", name)
        try:
            run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
            run("ip", "link", "set", near, "master", self.bridge, "up")
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", far)
            for link in ("lo", far):
                run("ip", "-n", name, "link", "set", link, "up")
            yield Namespace(name, address)
        finally:
            run("ip", "netns", "del", name)


class Namespace:
    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.inode = Path("/run/netns", name).stat().st_ino

    def pids(self) -> list[int]:
        return [int(pid) for pid in run("ip", "netns", "pids", self.name).split()]

    @contextmanager
    def rule(self, *rule: str) -> Iterator[None]:
        """A rule of iptables for a while: `OUTPUT -p tcp ... -j DROP`."""
        self._iptables("-I", *rule)
        try:
            yield
        finally:
            self._iptables("-D", *rule)

    def _iptables(self, *arguments: str) -> None:
        run("ip", "netns", "exec", self.name, "iptables", "--wait", *arguments)
