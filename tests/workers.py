"""The suite side by side: which tests stay together, in what order, and how all of it ends.

pytest-xdist hands pieces of the suite to interpreters (tests/setup/worker). Most tests wait, for a guest to boot or
a lease to run out; so one worker does what computes, and the others meanwhile what waits.
"""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import NodeManager, WorkerController

# One piece: the hosts, etcd and Ceph of its session, and figures that are measured one after another.
WHOLE = ("tests/chaos/",)
# A test is a piece: each makes what it needs. What is not named here stays with its file.
APART = ("tests/integration/", "tests/model/", "tests/fuzz/")
TOGETHER = ("tests/integration/test_debian_guest.py",)
COMPUTES = ("tests/model/", "tests/unit/", "tests/golden/", "tests/fuzz/", "tests/lint/")
# The longest first; the end is for small pieces, so that the workers end together.
FIRST = (
    "tests/chaos/",
    "tests/e2e/",
    "tests/integration/test_debian_guest.py",
    "tests/integration/test_image_claim.py",
    "tests/integration/test_rbd.py",
    "tests/integration/test_run.py",
    "tests/integration/test_local_disks.py",
)
SECONDS = 60  # for workers to end their tests' processes, containers and networks


def piece(nodeid: str) -> str:
    for folder in WHOLE:
        if nodeid.startswith(folder):
            return folder
    file = nodeid.partition("::")[0]
    return nodeid if nodeid.startswith(APART) and file not in TOGETHER else file


def rank(piece: str) -> int:
    return next((n for n, name in enumerate(FIRST) if piece.startswith(name)), len(FIRST))


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Hands out pieces by rank; at any time one worker at most computes while others can wait."""

    def _split_scope(self, nodeid: str) -> str:
        return piece(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        others = (work for one, work in self.assigned_work.items() if one is not node)
        busy = any(self._computes(work) for work in others)
        fitting = [one for one in self.workqueue if one.startswith(COMPUTES) != busy]
        if chosen := min(fitting, key=rank, default=""):
            self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        """Whose session has hosts, etcd and Ceph ends with their tests: others shall not pay for them."""
        others = [one for one in self.nodes if one is not node and not one.shutting_down]
        if others and not node.shutting_down and self.assigned_work[node].keys() & set(WHOLE):
            node.shutdown()
        else:
            super()._reschedule(node)

    def _computes(self, work: dict[str, dict[str, bool]]) -> bool:
        return any(
            name.startswith(COMPUTES) and not all(done.values()) for name, done in work.items()
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


# -- each worker


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        # Paths of sockets stay short, and so do messages in which a path stands.
        config.option.basetemp = Path(os.environ["TMPDIR"], worker.removeprefix("gw"))
    elif config.getoption("dist", "no") != "no":
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end_workers)


# -- the one that hands out

NodeManager.EXIT_TIMEOUT = SECONDS
LINES: list[str] = []
CHAOS: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What tests have measured, by `record_property`."""
    if report.when == "call":
        LINES.extend(f"{name}: {value}" for name, value in report.user_properties)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    # Told twice of one that was interrupted.
    CHAOS[:] = getattr(node, "workeroutput", {}).get("chaos", CHAOS)


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    for title, lines in (("measured", LINES), ("chaos", CHAOS)):
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.write_line(line)


def _end_workers(*_: object) -> None:
    """They say that they were interrupted, and that ends us. Again later: the first interrupt may hit code that
    takes no notice, and one that comes too soon hits what the first one has begun to take down.
    """
    signal.signal(signal.SIGALRM, _end_workers)
    signal.alarm(SECONDS // 3)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    for pid in map(int, children.split()):
        os.kill(pid, signal.SIGTERM)
