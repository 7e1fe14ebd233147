"""`get`, `set`, `unset`, `edit`, `create`, `rm`, `diff`, `apply`, `export`, `history`, `rollback`: on a real etcd."""

import json
import threading
from pathlib import Path

import pytest
from commanding import file, good, told
from etcd import Etcd

from holdfast.cli import definition, transaction
from holdfast.cli.subject import connected
from holdfast.errors import Changed
from holdfast.keys import is_passed_over

pytestmark = pytest.mark.integration


@pytest.fixture
def url(own_etcd: Etcd) -> str:
    own_etcd.put("web", ram="2G", cpus="2", disks__root__pool="default", x__owner="anna")
    return own_etcd.url


def log(etcd: Etcd, vm: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        good(etcd.url, "history", vm, "--json", "--last", "1000")
    )
    return found


def test_get(own_etcd: Etcd, url: str) -> None:
    own_etcd.ctl("put", "/kvm/_defaults/title", "a machine")
    assert good(url, "get", "web", "ram") == "2G\n"
    assert good(url, "get", "web", "ram", "--origin") == "2G\n(own)\n"
    assert good(url, "get", "web").splitlines() == [
        "cpus\t2",
        "disks/root/pool\tdefault",
        "ram\t2G",
        "x/owner\tanna",
    ]
    assert good(url, "get", "web", "--origin").splitlines()[-1] == "title\ta machine\t_defaults"
    assert json.loads(good(url, "get", "web", "title", "--json")) == {
        "key": "title",
        "value": "a machine",
        "origin": "_defaults",
    }
    assert "did you mean ram?" in told(url, "get", "web", "rma")[1]
    assert told(url, "get", "web", "spice_port") == (
        78,
        "VM web has no key spice_port: it is as without one, no SPICE",
    )


def test_set_in_one_transaction_with_its_record(own_etcd: Etcd, url: str) -> None:
    said = good(url, "set", "web", "ram=4G", "nics/nic0/bridge=br0", "--why", "new team")
    assert "ram\t2G\t4G\twhen it starts" in said
    assert own_etcd.get("/kvm/web/ram") == "4G"
    revisions = {
        json.loads(own_etcd.ctl("get", key, "-w", "json"))["kvs"][0]["mod_revision"]
        for key in ("/kvm/web/ram", "/kvm/web/nics/nic0/bridge")
    }
    (record,) = log(own_etcd, "web")
    assert revisions == {record["revision"]}
    assert record["why"] == "new team"
    assert record["changes"] == {"ram": ["2G", "4G"], "nics/nic0/bridge": [None, "br0"]}
    assert record["who"]
    assert good(url, "set", "web", "ram=4G") == "web: nothing to do\n"
    assert len(log(own_etcd, "web")) == 1


def test_a_dry_run_writes_nothing(own_etcd: Etcd, url: str) -> None:
    before = own_etcd.ctl("get", "--prefix", "/kvm/")
    found = json.loads(good(url, "set", "web", "ram=4G", "--dry-run", "--json"))
    assert found == {
        "vm": "web",
        "revision": None,
        "changes": {"ram": {"before": "2G", "after": "4G", "acts": "when it starts"}},
    }
    assert good(url, "unset", "web", "cpus", "--dry-run", "--why", "x").endswith(
        "nothing was written\n"
    )
    assert json.loads(good(url, "unset", "web", "cpus", "--dry-run", "--json"))["revision"] is None
    assert own_etcd.ctl("get", "--prefix", "/kvm/") == before


def test_what_waits_and_what_acts_now(own_etcd: Etcd, url: str) -> None:
    own_etcd.put("web", lock='{"host":"host-a"}')
    said = good(url, "set", "web", "ram=4G", "power=off", "x/a=1", "--dry-run")
    assert "ram\t2G\t4G\tat the next start: holdfast restart web" in said
    assert "power\t-\toff\tnow" in said
    assert "x/a\t-\t1\ta note: nothing acts on it" in said


def test_all_faults_together_and_nothing_written(own_etcd: Etcd, url: str) -> None:
    status, said = told(url, "set", "web", "ram=0", "rma=1G")
    assert status == 78
    assert "must be at least 16 MiB" in said
    assert "did you mean ram?" in said
    assert own_etcd.get("/kvm/web/ram") == "2G"
    assert told(url, "unset", "web", "title")[0] == 78
    assert told(url, "set", "web", "ram")[0] == 64
    assert told(url, "set", "web", "ram=1G", "ram=2G")[0] == 64
    assert told(url, "set", "nix", "ram=1G")[0] == 78


def test_a_value_from_a_file(own_etcd: Etcd, url: str, tmp_path: Path) -> None:
    text = file(tmp_path, "seed", "#cloud-config\npackages: [nginx]\n")
    good(url, "set", "web", f"user_data=@{text}")
    assert own_etcd.get("/kvm/web/user_data") == "#cloud-config\npackages: [nginx]"
    assert told(url, "set", "web", "user_data=@/nowhere")[0] == 64


def test_of_two_at_once_one_is_refused_with_what_changed(own_etcd: Etcd, url: str) -> None:
    with connected("web", {"ETCD_ENDPOINTS": url}) as (config, store):
        base = definition.read(store, config)
        good(url, "set", "web", "ram=3G")
        with pytest.raises(Changed, match="ram 2G -> 3G; nothing was written") as refused:
            transaction.write(store, base, {"cpus": b"4"}, "set")
    assert "holdfast show web" in refused.value.hint
    assert refused.value.status == 75
    assert own_etcd.get("/kvm/web/cpus") == "2"


@pytest.mark.parametrize(
    "change", [("put", "/kvm/web/title", "x"), ("del", "/kvm/web/x/owner")], ids=["put", "del"]
)
def test_etcdctl_counts_as_well(own_etcd: Etcd, url: str, change: tuple[str, ...]) -> None:
    with connected("web", {"ETCD_ENDPOINTS": url}) as (config, store):
        base = definition.read(store, config)
        own_etcd.ctl(*change)
        with pytest.raises(Changed, match="nothing was written"):
            transaction.write(store, base, {"cpus": b"4"}, "set")


def test_a_launcher_that_takes_the_vm_meanwhile_is_none_who_changes_it(
    own_etcd: Etcd, url: str
) -> None:
    with connected("web", {"ETCD_ENDPOINTS": url}) as (config, store):
        base = definition.read(store, config)
        own_etcd.put("web", lock="{}")
        assert transaction.write(store, base, {"cpus": b"4"}, "set")
    assert own_etcd.get("/kvm/web/cpus") == "4"


def test_many_at_once_lose_nothing(own_etcd: Etcd, url: str) -> None:
    """Each adds a note of his own, and tries again when another one was quicker."""

    def insist(number: int) -> None:
        with connected("web", {"ETCD_ENDPOINTS": url}) as (config, store):
            while True:
                try:
                    base = definition.read(store, config)
                    transaction.write(store, base, {f"x/{number}": b"y"}, "set")
                except Changed:
                    continue
                return

    threads = [threading.Thread(target=insist, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert own_etcd.keys("/kvm/web/x/") == [
        *(f"/kvm/web/x/{number}" for number in range(6)),
        "/kvm/web/x/owner",
    ]
    assert len(log(own_etcd, "web")) == 6


def test_a_hundred_records_are_kept(own_etcd: Etcd, url: str) -> None:
    for number in range(108):
        own_etcd.ctl("put", f"/kvm/_log/web/2026-{number:03}", "{}")
    good(url, "set", "web", "ram=3G")
    good(url, "set", "web", "ram=4G")
    found = log(own_etcd, "web")
    assert len(found) == 100
    assert [one["changes"] for one in found[:2]] == [{"ram": ["3G", "4G"]}, {"ram": ["2G", "3G"]}]


def test_edit(own_etcd: Etcd, url: str) -> None:
    good(url, "edit", "web", "--why", "more", EDITOR="sed -i s/2G/6G/")
    assert own_etcd.get("/kvm/web/ram") == "6G"
    assert good(url, "edit", "web", EDITOR="true") == "web: nothing to do\n"
    assert "nothing was written" in good(url, "edit", "web", "--dry-run", EDITOR="sed -i s/6G/7G/")
    assert json.loads(good(url, "edit", "web", "--json", EDITOR="true"))["changes"] == {}
    status, said = told(url, "edit", "web", EDITOR="sed -i s/6G/6/")
    assert status == 78
    kept = said.partition("your text is in ")[2].partition(":")[0]
    assert "ram: 6\n" in Path(kept).read_text("utf-8")
    assert (
        Path(kept).stat().st_mode & 0o777 == 0o600
        or Path(kept).parent.stat().st_mode & 0o777 == 0o700
    )
    assert told(url, "edit", "web", EDITOR="false")[0] == 64
    assert told(url, "edit", "web", EDITOR="/nowhere")[0] == 64


def test_create_and_rm(own_etcd: Etcd, tmp_path: Path) -> None:
    url = own_etcd.url
    key = tmp_path / "id.pub"
    key.write_text(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBxWcKcGcTnGZ0C1kcWc7N3mU1q5y2yWwP9Fz2n3YV5k me@example\n"
    )
    words = ["create", "new", "--image", "https://images.example/d.qcow2", "--checksum", "0" * 64]
    words += ["--ram", "2G", "--key", str(key)]
    words += ["create", "--cpus", "2", "--bridge", "br0", "--host", "host-a", "--set", "x/y=1"][1:]
    words += ["title=a b", "disks/root/size=20G"]
    assert "nothing was written" in good(url, *words, "--dry-run")
    assert own_etcd.keys("/kvm/") == []
    assert "then: holdfast start new" in good(url, *words, "--why", "asked")
    assert own_etcd.get("/kvm/new/power") == "off"
    assert own_etcd.get("/kvm/new/disks/root/source/image") == "https://images.example/d.qcow2"
    assert own_etcd.get("/kvm/new/title") == "a b"
    status, said = told(url, *words)
    assert status == 64
    assert "holdfast set new" in said
    bad = ["create", "bad", "--ram", "0", "--disk", "20G", "--pool", "fast"]
    assert told(url, *bad)[0] == 78
    assert (
        told(
            url,
            "create",
            "bad",
            "--ram",
            "0",
            "--key",
            str(key),
            "--why",
            "x",
            "--start",
            "--dry-run",
        )[0]
        == 78
    )
    status, said = told(url, "rm", "new")
    assert status == 64
    assert "holdfast rm new --yes" in said
    for record in ("_own/new/epoch", "_last/new", "_secret/new/tpm", "new/epoch", "new/fence"):
        own_etcd.ctl("put", f"/kvm/{record}", "1")
    own_etcd.ctl("put", "/kvm/new2/ram", "1G")
    good(url, "rm", "new", "--yes", "--why", "no more")
    assert [key for key in own_etcd.keys("/kvm/") if "_log" not in key] == ["/kvm/new2/ram"]
    assert log(own_etcd, "new")[0]["why"] == "no more"
    good(url, *words)
    assert len(log(own_etcd, "new")) == 3


def test_rm_leaves_what_runs_and_names_volumes(own_etcd: Etcd, url: str) -> None:
    own_etcd.put("web", lock='{"host":"host-a"}')
    assert told(url, "rm", "web", "--yes")[0] == 75
    own_etcd.ctl("del", "/kvm/web/lock")
    own_etcd.put("web", fence="{}")
    status, said = told(url, "rm", "web", "--yes")
    assert status == 75
    assert "holdfast fence show web" in said
    own_etcd.ctl("del", "/kvm/_own/web/fence")
    volume = {
        "version": 1,
        "id": "i",
        "state": "made",
        "place": "rbd/f/vms",
        "host": "host-a",
        "name": "web-root",
        "lock": "l",
    }
    own_etcd.ctl("put", "/kvm/_own/web/volumes/root", json.dumps(volume))
    status, said = told(url, "rm", "web", "--yes")
    assert status == 64
    assert "web-root on host-a" in said
    assert "--forget-volumes" in said
    assert "left where it is: root  web-root on host-a" in good(
        url, "rm", "web", "--yes", "--forget-volumes"
    )
    assert [key for key in own_etcd.keys("/kvm/") if "_log" not in key] == []


def test_apply_export_and_diff_are_inverses(own_etcd: Etcd, url: str, tmp_path: Path) -> None:
    own_etcd.put(
        "db", ram="8G", power="off", user_data="#cloud-config\na: b\n", title='odd: "text" #'
    )
    out = tmp_path / "vms"
    good(url, "export", "--dir", str(out))
    assert sorted(path.name for path in out.iterdir()) == ["db.yaml", "web.yaml"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in out.iterdir())
    assert good(url, "export", "db") == (out / "db.yaml").read_text("utf-8")
    revision = json.loads(own_etcd.ctl("get", "x", "-w", "json"))["header"]["revision"]
    assert good(url, "diff", str(out)) == "= 2 VMs as they are: nothing to do\n"
    assert good(url, "apply", str(out)) == "= 2 VMs as they are: nothing to do\n"
    assert json.loads(own_etcd.ctl("get", "x", "-w", "json"))["header"]["revision"] == revision
    own_etcd.ctl("del", "--prefix", "/kvm/db/")
    good(url, "apply", str(out), "--why", "again")
    assert good(url, "diff", str(out)) == "= 2 VMs as they are: nothing to do\n"
    assert told(url, "export") == (
        64,
        "without --dir it takes one VM\nusage: holdfast export [-h] [-d DIR] [VM ...]",
    )


def test_apply(own_etcd: Etcd, url: str, tmp_path: Path) -> None:
    file(tmp_path, "web", "ram: 4G\ndisks: {root: {pool: default}}\n")
    file(tmp_path, "new", "ram: 1G\n")
    own_etcd.put("web", power="off")
    status, said = told(url, "diff", str(tmp_path))
    assert status == 1
    assert "+ new\n  ram\t-\t1G" in said
    assert "~ web\n  cpus\t2\t-" in said
    assert "power" not in said, "a file without it leaves it as it is"
    assert "nothing was written" in good(url, "apply", str(tmp_path), "--dry-run")
    assert own_etcd.get("/kvm/new/ram") is None
    good(url, "apply", str(tmp_path))
    assert sorted(key for key in own_etcd.keys("/kvm/") if "_log" not in key) == [
        "/kvm/new/ram", "/kvm/web/disks/root/pool", "/kvm/web/power", "/kvm/web/ram",
    ]  # fmt: skip
    assert good(url, "apply", str(tmp_path)) == "= 2 VMs as they are: nothing to do\n"


def test_one_wrong_file_and_nothing_is_written(own_etcd: Etcd, url: str, tmp_path: Path) -> None:
    file(tmp_path, "web", "ram: 4G\n")
    file(tmp_path, "bad", "ram: 0\nrma: 1\n")
    file(tmp_path, "worse", "- a\n")
    status, said = told(url, "apply", str(tmp_path))
    assert status == 78
    assert all(
        text in said
        for text in ("bad.yaml: VM bad: ram: '0'", "rma: is no key", "worse.yaml: the file")
    )
    assert own_etcd.get("/kvm/web/ram") == "2G"
    file(tmp_path, "Odd_Name", "ram: 1G\n")
    status, said = told(url, "apply", str(tmp_path))
    assert status == 64
    assert "Odd_Name.yaml: the file's name is the VM's" in said


def test_prune(own_etcd: Etcd, url: str, tmp_path: Path) -> None:
    own_etcd.put("gone", ram="1G", power="off")
    own_etcd.put("runs", ram="1G", lock='{"host":"host-a"}')
    good(url, "export", "web", "--dir", str(tmp_path))
    status, said = told(url, "apply", str(tmp_path), "--prune")
    assert status == 64
    assert "would remove 2 VMs" in said
    assert "- gone" in good(url, "apply", str(tmp_path), "--prune", "--dry-run")
    assert own_etcd.get("/kvm/gone/ram")
    status, said = told(url, "apply", str(tmp_path), "--prune", "--yes")
    assert status == 75, "one of them runs"
    assert "gone: removed" in said
    assert own_etcd.get("/kvm/gone/ram") is None
    assert own_etcd.get("/kvm/runs/ram")


def test_rollback(own_etcd: Etcd, url: str) -> None:
    good(url, "set", "web", "ram=3G")
    good(url, "set", "web", "ram=4G", "title=x")
    good(url, "unset", "web", "cpus")
    _, _, first = (record["revision"] for record in log(own_etcd, "web"))
    own_etcd.put("web", power="off")
    assert "nothing was written" in good(url, "rollback", "web", "--to", str(first), "--dry-run")
    good(url, "rollback", "web", "--to", str(first), "--why", "too much")
    assert own_etcd.get("/kvm/web/ram") == "3G"
    assert own_etcd.get("/kvm/web/cpus") == "2"
    assert own_etcd.get("/kvm/web/title") is None
    assert own_etcd.get("/kvm/web/power") == "off", "that is no part of what it is"
    assert log(own_etcd, "web")[0]["what"] == f"rollback to {first}"
    assert json.loads(good(url, "rollback", "web", "--to", str(first), "--json"))["changes"] == {}
    assert told(url, "rollback", "web", "--to", "999999")[0] == 64
    own_etcd.ctl("compact", str(log(own_etcd, "web")[0]["revision"]))
    status, said = told(url, "rollback", "web", "--to", str(first))
    assert status == 64
    assert "holdfast history web" in said


def test_launchers_records_are_no_keys_of_an_operators(own_etcd: Etcd, url: str) -> None:
    own_etcd.ctl("put", "/kvm/web/epoch", "moved")
    own_etcd.ctl("put", "/kvm/web/secret/tpm", "x")
    assert is_passed_over("epoch")
    assert "epoch" not in good(url, "get", "web")
    assert "tpm" not in good(url, "export", "web")
