"""The store against an etcd that asks who we are: TLS, client certificates, users and their tokens."""

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from etcd import Etcd, serving

from holdfast.config.endpoint import Endpoint, Protocol
from holdfast.config.settings import Settings
from holdfast.errors import Unreachable
from holdfast.etcd.store import connect
from holdfast.etcd.txn import Put, Range, Unchanged

pytestmark = pytest.mark.integration

EXTENSIONS = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate authority of the test's own."""

    directory: Path

    @property
    def certificate(self) -> Path:
        return self.directory / "ca.crt"

    def make(self) -> None:
        self.directory.mkdir()
        names = ("-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority", "-days", "2")
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", *names)

    def issue(self, name: str, *, days: int = 2) -> tuple[Path, Path]:
        """A certificate and its key."""
        (self.directory / "extensions").write_text(EXTENSIONS)
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                      "-subj", f"/CN={name}")  # fmt: skip
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                      "-out", f"{name}.crt", "-days", str(days), "-extfile", "extensions")  # fmt: skip
        return self.directory / f"{name}.crt", self.directory / f"{name}.key"

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def authority(directory: Path) -> Authority:
    made = Authority(directory=directory)
    made.make()
    return made


@pytest.fixture
def trusted(tmp_path: Path) -> Authority:
    return authority(tmp_path / "trusted")


@pytest.fixture
def secured(tmp_path: Path, trusted: Authority) -> Iterator[Etcd]:
    """An etcd that speaks TLS, and only with who has a certificate of the same authority."""
    crt, key = trusted.issue("server")
    ca = trusted.certificate
    flags = [
        f"--cert-file={crt}",
        f"--key-file={key}",
        "--client-cert-auth",
        f"--trusted-ca-file={ca}",
    ]
    client = [f"--cacert={ca}", f"--cert={crt}", f"--key={key}"]
    with serving(tmp_path, *flags, scheme="https", client=client) as etcd:
        yield etcd


@pytest.fixture(params=list(Protocol))
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return Protocol(request.param)


def settings(etcd: Etcd, *, tls: bool, **more: str) -> Settings:
    endpoint = Endpoint(host="127.0.0.1", port=etcd.port, tls=tls)
    return replace(Settings(), endpoints=(endpoint,), **more)  # type: ignore[arg-type]


def test_both_sides_show_a_certificate(
    protocol: Protocol, secured: Etcd, trusted: Authority
) -> None:
    crt, key = trusted.issue("launcher")
    files = {"etcd_cacert": str(trusted.certificate), "etcd_cert": str(crt), "etcd_key": str(key)}
    with connect(settings(secured, tls=True, etcd_protocol=protocol, **files)) as store:
        assert store.txn(success=[Put(key="/a", value=b"1")]).succeeded
        assert store.keep_alive(store.grant(10)[0]) == 10


def test_an_authority_that_we_do_not_trust_is_refused(
    protocol: Protocol, secured: Etcd, trusted: Authority, tmp_path: Path
) -> None:
    crt, key = trusted.issue("launcher")
    stranger = authority(tmp_path / "stranger")
    files = {"etcd_cacert": str(stranger.certificate), "etcd_cert": str(crt), "etcd_key": str(key)}
    with (
        connect(settings(secured, tls=True, etcd_protocol=protocol, **files)) as store,
        pytest.raises(Unreachable, match="does not answer"),
    ):
        store.read(Range(key="/a"))


def test_without_a_certificate_we_are_refused(
    protocol: Protocol, secured: Etcd, trusted: Authority
) -> None:
    files = {"etcd_cacert": str(trusted.certificate)}
    with (
        connect(settings(secured, tls=True, etcd_protocol=protocol, **files)) as store,
        pytest.raises(Unreachable),
    ):
        store.read(Range(key="/a"))


TOKEN = 2  # seconds that a token lives


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Etcd]:
    """An etcd with users, whose tokens run out quickly."""
    with serving(tmp_path, f"--auth-token-ttl={TOKEN}") as etcd:
        etcd.ctl("user", "add", "root:secret")
        etcd.ctl("user", "grant-role", "root", "root")
        etcd.ctl("auth", "enable")
        etcd.client = ["--user=root:secret"]
        yield etcd


def password_file(directory: Path, password: str) -> str:
    path = directory / "password"
    path.write_text(f"{password}\n")
    path.chmod(0o600)
    return str(path)


def test_a_token_that_has_run_out_is_renewed(
    protocol: Protocol, guarded: Etcd, tmp_path: Path
) -> None:
    login = {"etcd_username": "root", "etcd_password_file": password_file(tmp_path, "secret")}
    with connect(settings(guarded, tls=False, etcd_protocol=protocol, **login)) as store:
        assert store.txn(success=[Put(key="/a", value=b"1")]).succeeded
        time.sleep(2.5 * TOKEN)  # what is tested is that time passes
        assert store.txn(success=[Put(key="/a", value=b"2")]).succeeded
        assert guarded.get("/a") == "2"


def test_tokens_that_are_all_forgotten_stop_nobody(
    protocol: Protocol, guarded: Etcd, tmp_path: Path
) -> None:
    """Several threads find out at once, and a watch on the same connection goes on."""
    login = {"etcd_username": "root", "etcd_password_file": password_file(tmp_path, "secret")}
    with connect(settings(guarded, tls=False, etcd_protocol=protocol, **login)) as store:
        lease, _ = store.grant(10)
        revision = store.txn(success=[Put(key="/w/0", value=b"")]).revision
        changes = store.changes(["/w/"], revision + 1)
        heard = iter(changes)
        first = next(heard)  # that it is there
        guarded.ctl("auth", "disable")
        guarded.client = []
        guarded.ctl("auth", "enable")
        guarded.client = ["--user=root:secret"]
        with ThreadPoolExecutor(8) as threads:
            puts = [
                threads.submit(store.txn, (), [Put(key=f"/w/{n}", value=b"")]) for n in range(24)
            ]
            renewed = threads.submit(store.keep_alive, lease)
        assert all(put.result().succeeded for put in puts)
        assert renewed.result() == 10
        seen = set(first.keys)
        while len(seen) < 24:
            seen |= next(heard).keys
        changes.close()


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[Etcd]:
    """An etcd whose tokens are signed, and good for one state of all rights."""
    key, public = tmp_path / "jwt.key", tmp_path / "jwt.pub"
    for command in (f"genrsa -out {key} 2048", f"rsa -in {key} -pubout -out {public}"):
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True)
    token = f"--auth-token=jwt,pub-key={public},priv-key={key},sign-method=RS256,ttl=10m"
    with serving(tmp_path, token) as etcd:
        etcd.ctl("user", "add", "root:secret")
        etcd.ctl("user", "grant-role", "root", "root")
        etcd.ctl("auth", "enable")
        etcd.client = ["--user=root:secret"]
        yield etcd


def test_somebody_elses_new_rights_cost_nobody_his_own(
    protocol: Protocol, signed: Etcd, tmp_path: Path
) -> None:
    login = {"etcd_username": "root", "etcd_password_file": password_file(tmp_path, "secret")}
    with connect(settings(signed, tls=False, etcd_protocol=protocol, **login)) as store:
        assert store.txn(success=[Put(key="/a", value=b"1")]).succeeded
        signed.ctl("user", "add", "tenant:pass")
        assert store.txn(success=[Put(key="/a", value=b"2")]).succeeded
        assert store.keep_alive(store.grant(10)[0]) == 10


def test_a_role_that_is_too_small_is_told_what_was_asked(
    protocol: Protocol, guarded: Etcd, tmp_path: Path
) -> None:
    guarded.ctl("user", "add", "hf:pass")
    guarded.ctl("role", "add", "narrow")
    guarded.ctl("role", "grant-permission", "narrow", "--prefix", "readwrite", "/kvm/7/")
    guarded.ctl("user", "grant-role", "hf", "narrow")
    login = {"etcd_username": "hf", "etcd_password_file": password_file(tmp_path, "pass")}
    with connect(settings(guarded, tls=False, etcd_protocol=protocol, **login)) as store:
        assert store.txn(success=[Put(key="/kvm/7/ram", value=b"1")]).succeeded
        with pytest.raises(Unreachable) as refused:
            store.read(
                Range(key="/kvm/7/", prefix=True), Range(key="/kvm/_defaults/", prefix=True)
            )
        assert "user hf asked to read /kvm/7/*, /kvm/_defaults/*" in refused.value.message
        claim = "/kvm/_claims/file"
        with pytest.raises(
            Unreachable, match="asked to write /kvm/_claims/file and to read /kvm/7/a"
        ):
            store.txn([Unchanged(key="/kvm/7/a", revision=0)], [Put(key=claim, value=b"")])


def test_a_wrong_password_is_named_and_not_shown(
    protocol: Protocol, guarded: Etcd, tmp_path: Path
) -> None:
    login = {"etcd_username": "root", "etcd_password_file": password_file(tmp_path, "wrong")}
    with (
        connect(settings(guarded, tls=False, etcd_protocol=protocol, **login)) as store,
        pytest.raises(Unreachable) as refused,
    ):
        store.read(Range(key="/a"))
    assert "authentication failed" in refused.value.message
    assert "wrong" not in refused.value.message
