"""CPUs of this machine, and files of a control group."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from launcher import BASE

from holdfast.errors import HostLacks
from holdfast.system import capacity, cgroup

pytestmark = pytest.mark.processes


def test_a_child_has_its_cpus_and_we_keep_ours() -> None:
    ours = os.sched_getaffinity(0)
    one = max(ours)
    with capacity.on_cpus((one,)):
        child = subprocess.run(
            [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert child.stdout.split() == [str(one)]
    assert os.sched_getaffinity(0) == ours


def test_a_cpu_that_is_not_here() -> None:
    capacity.check_cpus(tuple(os.sched_getaffinity(0)))
    with pytest.raises(HostLacks, match="cpu_set: CPU 8000-8001 is not one of"):
        capacity.check_cpus((*os.sched_getaffinity(0), 8000, 8001))


@pytest.fixture
def group(tmp_path: Path) -> dict[str, str]:
    """Two groups, as a unit has them on a host of systemd's."""
    inner = tmp_path / "fs" / "system.slice" / "kvm.service"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "cgroup.procs").touch()
    (inner / "memory.max").write_text("max\n")
    (inner.parent / "memory.max").write_text("4294967296\n")
    own = tmp_path / "own"
    own.write_text("1:cpu:/x\n0::/system.slice/kvm.service\n")
    return {"root": str(tmp_path / "fs"), "own": str(own)}


def test_the_tightest_limit_counts(group: dict[str, str]) -> None:
    assert cgroup.memory_max(**group) == 4 * 1024**3
    (Path(group["root"]) / "system.slice/kvm.service/memory.max").write_text("1048576\n")
    assert cgroup.memory_max(**group) == 1024**2


def test_a_limit_of_processes_is_found(group: dict[str, str]) -> None:
    assert cgroup.pids_max(**group) is None
    (Path(group["root"]) / "system.slice/pids.max").write_text("40\n")
    (Path(group["root"]) / "system.slice/kvm.service/pids.max").write_text("max\n")
    assert cgroup.pids_max(**group) == 40
    (Path(group["root"]) / "pids").mkdir()
    (Path(group["root"]) / "pids" / "pids.max").write_text("20\n")  # version 1
    assert cgroup.pids_max(**group) == 20


def test_too_few_processes_are_said_before_they_run_out() -> None:
    script = "from holdfast.system.rlimit import check_tasks; check_tasks(20)"
    done = limited(f"prlimit --nproc=19: {sys.executable} -P -c '{script}'")
    assert "only 19 processes and threads are allowed here, and this VM needs 20" in done.stderr
    assert limited(f"prlimit --nproc=20: {sys.executable} -P -c '{script}'").returncode == 0


@pytest.mark.parametrize(
    "what", ["subprocess.Popen(['true'])", "_thread.start_new_thread(id, (1,))"]
)
def test_processes_that_have_run_out_are_named(what: str) -> None:
    """As an ordinary user: root has no such limit."""
    script = f"""
import _thread, subprocess
from holdfast.system.rlimit import exhausted
try:
    {what}
except Exception as error:
    print(exhausted(error), exhausted(BlockingIOError()))
"""
    user = "setpriv --reuid=65533 --regid=65533 --clear-groups"
    done = limited(f'prlimit --nproc=1 {user} {sys.executable} -P -c "$SCRIPT"', SCRIPT=script)
    assert done.stdout == "no more processes or threads are allowed here None\n", done.stderr


def limited(command: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", "-c", command],
        env={**BASE, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_weight_is_written_where_there_is_one(group: dict[str, str]) -> None:
    weight = Path(group["root"]) / "system.slice/kvm.service/cpu.weight"
    assert cgroup.set_cpu_weight(300, **group) == f"{weight}: No such file or directory"
    weight.write_text("100\n")
    assert cgroup.set_cpu_weight(300, **group) == ""
    assert weight.read_text().startswith("300")


@pytest.fixture(params=["a container's view", "a host's view"])
def group_1(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """Version 1: an engine mounts a container's group as if it were the root."""
    inside = request.param == "a host's view"
    for controller in ("memory", "cpu", "pids"):
        (tmp_path / "fs-1" / controller / ("docker/7" if inside else "")).mkdir(parents=True)
    own = tmp_path / "own-1"
    own.write_text("9:memory:/docker/7\n7:cpu,cpuacct:/docker/7\n6:pids:/docker/7\n0::/\n")
    return {"root": str(tmp_path / "fs-1"), "own": str(own)}


def file_1(group: dict[str, str], controller: str, name: str) -> Path:
    (found,) = cgroup.folders_1(controller, **group)
    return found / name


def test_both_dialects_say_the_same(group: dict[str, str], group_1: dict[str, str]) -> None:
    inner = Path(group["root"]) / "system.slice/kvm.service"
    assert cgroup.oom_kills(**group) == cgroup.oom_kills(**group_1) == 0
    (inner / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    file_1(group_1, "memory", "memory.oom_control").write_text(
        "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
    )
    assert cgroup.oom_kills(**group) == cgroup.oom_kills(**group_1) == 2

    stat = file_1(group_1, "memory", "memory.stat")
    stat.write_text(f"cache 0\nhierarchical_memory_limit {(1 << 63) - 4096}\n")
    assert cgroup.memory_max(**group_1) is None
    stat.write_text("cache 0\nhierarchical_memory_limit 4294967296\n")
    assert cgroup.memory_max(**group) == cgroup.memory_max(**group_1) == 4 * 1024**3

    (inner / "pids.max").write_text("40\n")
    file_1(group_1, "pids", "pids.max").write_text("40\n")
    assert cgroup.pids_max(**group) == cgroup.pids_max(**group_1) == 40

    (inner / "cpu.weight").write_text("100\n")
    file_1(group_1, "cpu", "cpu.shares").write_text("1024\n")
    assert cgroup.set_cpu_weight(200, **group) == cgroup.set_cpu_weight(200, **group_1) == ""
    assert (inner / "cpu.weight").read_text().startswith("200")
    assert file_1(group_1, "cpu", "cpu.shares").read_text().startswith("2048")


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill x\n", "\xff"])
def test_files_that_say_nothing(group_1: dict[str, str], text: str) -> None:
    file_1(group_1, "memory", "memory.oom_control").write_text(text)
    assert cgroup.oom_kills(**group_1) == 0


def test_without_version_2_there_is_neither(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("1:cpu:/\n")
    nowhere = {"root": str(tmp_path), "own": str(own)}
    assert cgroup.memory_max(**nowhere) is None
    assert cgroup.set_cpu_weight(1, **nowhere) == "there is no control group of CPUs here"
    own.write_text("0::/gone\n")
    assert cgroup.memory_max(**nowhere) is None


def test_huge_pages_must_be_free(tmp_path: Path) -> None:
    pool = tmp_path / "hugepages-2048kB"
    pool.mkdir()
    (pool / "free_hugepages").write_text("40\n")
    (pool / "resv_hugepages").write_text("8\n")
    capacity.check_pages(64 * 1024**2, 2 * 1024**2, pools=str(tmp_path))
    with pytest.raises(HostLacks, match="33 of 2048 KiB are needed, and 32 are free"):
        capacity.check_pages(65 * 1024**2, 2 * 1024**2, pools=str(tmp_path))
    with pytest.raises(HostLacks, match="1 of 1048576 KiB are needed, and 0 are free"):
        capacity.check_pages(1024**3, 1024**3, pools=str(tmp_path))


def test_the_default_size_of_a_huge_page(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  1 kB\nHugepagesize:       2048 kB\n")
    assert capacity.default_page(meminfo=str(meminfo)) == 2 * 1024**2
    meminfo.write_text("MemTotal:  1 kB\n")
    with pytest.raises(HostLacks, match="this kernel has none"):
        capacity.default_page(meminfo=str(meminfo))


LOCKS = """
import resource, sys
from holdfast.system import rlimit as limits
from holdfast.errors import HostLacks
soft, hard, needed = (int(word) for word in sys.argv[1:])
resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
try:
    limits.allow_locked(needed)
    print(*resource.getrlimit(resource.RLIMIT_MEMLOCK))
except HostLacks as error:
    print(error.status, *error.lines())
"""


@pytest.mark.parametrize(
    ("soft", "hard", "there"),
    [
        (4096, 65536, "32768 65536"),
        (49152, 65536, "49152 65536"),
        (4096, 8192, "77 only 0 MiB of memory may be locked here"),
    ],
)
def test_the_limit_of_locked_memory_is_raised_as_far_as_we_may(
    soft: int, hard: int, there: str
) -> None:
    """Without CAP_SYS_RESOURCE, as in a container."""
    words = [sys.executable, "-c", LOCKS, str(soft), str(hard), str(32768)]
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_resource", *words],
        env=BASE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith(there), done.stderr
