"""A container that is told to stop while it starts: nothing is lost, and nothing is left held."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from container import docker, engine
from etcd import Etcd, where

__all__ = ["engine"]

AT_ONCE = 4  # containers
LATEST = 2.0  # seconds after the engine says that it has started: most starts are over by then
STOPPED = {0, 143}


@pytest.fixture
def load() -> Iterator[None]:
    """As many busy processes as there are processors: a host that starts all its VMs."""
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


def test_stopped_at_a_random_moment_of_the_start(
    engine: None, load: None, etcd_server: Etcd, seed: int, minutes: float
) -> None:
    chance, rounds = random.Random(seed), 50 if minutes else 5  # noqa: S311 - moments, no secrets
    moments = [[chance.uniform(0, LATEST) for _ in range(rounds)] for _ in range(AT_ONCE)]
    with ThreadPoolExecutor() as threads:
        over = [
            threads.submit(stopped, etcd_server, f"early-{number}", each)
            for number, each in enumerate(moments)
        ]
        ends = [end for one in over for end in one.result()]
    lost = [end for end in ends if end[1] not in STOPPED]
    assert not lost, f"{len(lost)} of {len(ends)} stops were lost: {lost}"


def stopped(etcd: Etcd, vm: str, moments: list[float]) -> list[tuple[float, int]]:
    """One start after another, each stopped; the exit statuses."""
    etcd.put(vm, ram="64", nics__nic0__mode="none", stop_timeout="1")
    return [(moment, once(etcd, vm, moment)) for moment in moments]


def once(etcd: Etcd, vm: str, moment: float) -> int:
    variables = {"VM": vm, "HOSTNAME": "host-a", "ETCD_ENDPOINTS": etcd.url}
    options = [f"--env={name}={value}" for name, value in variables.items()]
    container = docker("run", "--detach", "--net=host", *options, "holdfast").strip()
    try:
        Event().wait(moment)
        docker("stop", "--time=20", container)
        status = int(docker("inspect", "--format={{.State.ExitCode}}", container))
        if status in STOPPED:  # else it was killed, and holds what a killed one does
            left = {key for key in ("lock", "status", "fence") if etcd.get(where(vm, key))}
            assert not left, docker("logs", container)
        return status
    finally:
        docker("rm", "--force", "--volumes", container)
