"""What a start costs whatever the machine's mood: requests, bytes, modules, system calls, instructions."""

import json
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.lab import REQUESTS, Lab, Vm
from bench.ways import PATIENCE, Holdfast

HERE = Path(__file__).parent
PYTHON = ["/usr/bin/python3", "-ISB"]
# One line of it counts. The processor's own counters are often closed to a virtual machine.
VALGRIND = ["valgrind", "--tool=cachegrind", "--cachegrind-out-file=/dev/null"]
STARTS = 9  # of which the phases are the medians
QUIET = 0.3  # seconds without a request, after which a start is over
WATCHES = "of them watches"
COUNTERS = {
    "messages to etcd": REQUESTS,
    WATCHES: f'{REQUESTS}{{grpc_method="Watch"',
    "bytes to etcd": "etcd_network_client_grpc_received_bytes_total",
    "bytes from etcd": "etcd_network_client_grpc_sent_bytes_total",
}


class Wrapped(Holdfast):
    """`holdfast run` under something that looks on."""

    name = "holdfast, looked at"

    def __init__(self, lab: Lab, prefix: Sequence[str]) -> None:
        super().__init__(lab)
        self._prefix = prefix

    def command(self, vm: Vm) -> Sequence[str]:
        return [*self._prefix, "run", vm.name]


def measure(lab: Lab) -> dict[str, Any]:
    return {
        "start": {
            **asked(lab),
            "modules": modules(lab),
            "system calls": system_calls(lab),
            "instructions, with a stop": instructions(lab),
        },
        "phases": {"file": phases(lab, lab.on_file()), "Ceph": phases(lab, lab.in_ceph())},
    }


def asked(lab: Lab) -> dict[str, int]:
    vm = lab.on_file()
    before = counters(lab)
    deadline = time.monotonic() + PATIENCE
    with Holdfast(lab).started(vm):
        # The watch and status come last, when the guest runs already; the first renewal later still.
        seen, now = before, counters(lab)
        while seen != now or now[WATCHES] == before[WATCHES]:
            assert time.monotonic() < deadline, "nobody watches, or requests have no end"
            time.sleep(QUIET)
            seen, now = now, counters(lab)
    found = {name: now[name] - before[name] for name in COUNTERS}
    return {"requests to etcd": found["messages to etcd"] - found[WATCHES], **found}


def counters(lab: Lab) -> dict[str, int]:
    return {name: lab.counter(counter) for name, counter in COUNTERS.items()}


def modules(lab: Lab) -> int:
    with tempfile.NamedTemporaryFile("r") as said:
        shell = f'exec {" ".join(PYTHON)} -X importtime /usr/bin/holdfast "$@" 2>{said.name}'
        with Wrapped(lab, ["sh", "-c", shell, "sh"]).started(lab.on_file()):
            return len(re.findall(r"^import time:.*\| +\S+$", said.read(), flags=re.MULTILINE))


def system_calls(lab: Lab) -> int:
    """Of the launcher's main thread, until QEMU is up."""
    with tempfile.NamedTemporaryFile("r") as said:
        prefix = ["strace", "-D", "-qq", "-o", said.name, "/usr/bin/holdfast"]
        with Wrapped(lab, prefix).started(lab.on_file()):
            pass
        return said.read().partition("QEMU is up")[0].count("\n")


def instructions(lab: Lab) -> int:
    """Of the launcher alone, in all its threads, from its first to its last one."""
    with tempfile.NamedTemporaryFile("r") as said:
        prefix = [*VALGRIND, f"--log-file={said.name}", *PYTHON, "/usr/bin/holdfast"]
        with Wrapped(lab, prefix).started(lab.on_file()):
            pass
        return counted(said.read())


def counted(log: str) -> int:
    """The instructions that valgrind has counted, by what it says at the end."""
    found = re.search(r"I +refs: +([\d,]+)", log)
    assert found, log
    return int(found[1].replace(",", ""))


def phases(lab: Lab, vm: Vm) -> dict[str, float]:
    """Milliseconds from the command to the first instruction, by what they are spent on."""
    every = [one_start(lab, vm) for _ in range(STARTS)]
    steps = {step for spent in every for step in spent}
    return {step: statistics.median(spent.get(step, 0) for spent in every) for step in steps}


def one_start(lab: Lab, vm: Vm) -> dict[str, float]:
    with tempfile.NamedTemporaryFile("r") as output:
        way = Wrapped(lab, [*PYTHON, str(HERE / "phases.py"), output.name])
        with way.started(vm) as start:
            seen = json.load(output)
    # What cannot be seen from inside: the interpreter before our first line, the firmware after `cont`.
    outside = {"interpreter": seen["began"] - start.began, "firmware": start.ran - seen["ended"]}
    return {step: 1000 * took for step, took in {**seen["spent"], **outside}.items()}
