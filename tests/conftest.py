"""Fixtures for all tests.

They start real servers and real launchers, and end them with the test. What a test needs and does
not find makes it fail, not skip: a new machine gets everything from the Makefile.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from etcd import Etcd, serving
from launcher import Launcher

HERE = Path(__file__).parent


def pytest_keyboard_interrupt() -> None:
    """The first TERM or Ctrl-C ends the tests in order; fixtures then end in peace what they have started."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are not named in ids: some differ from run to run, and workers have to agree on ids."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def etcd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """One etcd for all tests that only read and write: they use VMs of their own."""
    with serving(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[Etcd]:
    """An etcd that the test may stop, pause and restart."""
    with serving(tmp_path) as etcd:
        yield etcd


@pytest.fixture(scope="session")
def guest() -> Path:
    """The small guest: vmlinuz, initrd.img, disk.raw."""
    done = subprocess.run(
        [HERE / "guest" / "busybox"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def arm_guest() -> Path:
    """The guest of another architecture: vmlinuz, initrd.img."""
    done = subprocess.run(
        [HERE / "guest" / "aarch64"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    directory = tmp_path / "pool"
    directory.mkdir()
    return directory


@pytest.fixture
def host_toml(tmp_path: Path, pool: Path, guest: Path) -> Path:
    path = tmp_path / "host.toml"
    path.write_text(
        f'image_paths = ["{guest}", "{tmp_path}"]\n'
        'default_pool = "default"\n'
        f'[pools.default]\nkind = "directory"\npath = "{pool}"\n',
        encoding="utf-8",
    )
    return path


Launch = Callable[..., Launcher]


@pytest.fixture
def launch(host_toml: Path) -> Iterator[Launch]:
    """Start `holdfast`; it ends with the test, and nothing of it stays."""
    with ExitStack() as stack:

        def start(
            environ: Mapping[str, str], *arguments: str, prefix: Sequence[str] = ()
        ) -> Launcher:
            launcher = Launcher(
                {"HOLDFAST_CONFIG": str(host_toml), "HOSTNAME": "host-a", **environ},
                arguments,
                prefix,
            )
            stack.callback(launcher.close)
            return launcher

        yield start


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """It is the process's: threads of a test that play launchers may leave another one to what comes next."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session", autouse=True)
def _term() -> None:
    """When CI gives up the tests end in order: no container is a child of ours and goes with us."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _as_root() -> None:
    if os.environ.get("CI") and os.geteuid() != 0:
        pytest.fail("CI runs the whole suite: it must be root")
