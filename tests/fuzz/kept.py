"""What is kept of a VM: in etcd, in its images, beside its files."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fuzz.corpus import APART
from fuzz.inputs import OURS, SCRATCH, pairs, text

from holdfast.description import pinned
from holdfast.devices import tpm_record
from holdfast.etcd import record
from holdfast.etcd.txn import Item, Reply
from holdfast.host import Host
from holdfast.ownership import last_run, legacy
from holdfast.ownership.names import Names
from holdfast.ownership.records import (
    clients_of,
    decode_claim,
    decode_fence,
    decode_lock,
    number,
    trees_of,
)
from holdfast.ownership.verdict import Standing, barred, judge
from holdfast.storage import file_claim, image_claim, volume_record


def records(data: bytes) -> None:
    item = Item(key="/kvm/7/x", value=data, mod_revision=1)
    for read in (decode_fence, decode_claim, pinned.decode, _tpm):
        with suppress(*OURS):
            read(data)
    with suppress(*OURS):
        image_claim.decode_claim(text(data))
    with suppress(*OURS):
        volume_record.decoded(data)
    decode_lock(data)
    last_run.crash(item, "k")
    with suppress(*OURS):
        number(item)
    record.decode_copies({"7": [text(data)], text(data[:20]): ["[]"]})


def _tpm(data: bytes) -> object:
    return tpm_record.unpack(data, b"")


NAMES = Names.of("/kvm", "7", "/kvm/7/lock")
HERE = Host(name="a", machine_id="m", boot_id="b")


def moved(data: bytes) -> None:
    """All that stands of a VM in etcd: ours, and what a tenant may have planted where older launchers kept it. Its
    clients may be heard of, and are never those that are shut out.
    """
    seen = reply(pairs(data))
    for item in legacy.fences(seen, NAMES):
        barred(item, HERE, "f")
    for look in (legacy.keys, _judged):
        with suppress(*OURS):
            look({}, seen, NAMES)
    made = legacy.move(seen, NAMES)
    written = {put.key: put.value for put in made.puts}
    after = reply({**{key: item.value for key, item in seen.items.items()}, **written})
    assert after.items[NAMES.legacy.epoch].value == legacy.EPOCH
    assert after.items[NAMES.legacy.fence].value == legacy.FENCE
    assert not legacy.older(after, NAMES)
    own = clients_of(seen.items.get(NAMES.fence))
    assert clients_of(after.items.get(NAMES.fence)) == own
    assert trees_of(after, NAMES) == trees_of(seen, NAMES)
    assert legacy.heard(after, NAMES) >= legacy.heard(seen, NAMES)


def reply(found: Mapping[str, bytes]) -> Reply:
    """Of what is called by its whole key, or as it is called in the records."""
    places = {**vars(NAMES), **{f"old_{one}": key for one, key in vars(NAMES.legacy).items()}}
    values = {str(places.get(name, name)): value for name, value in found.items()}
    items = {
        key: Item(key=key, value=value, mod_revision=at)
        for at, (key, value) in enumerate(values.items(), 1)
    }
    return Reply(succeeded=True, revision=99, items=items)


def _judged(_: object, seen: Reply, names: Names) -> None:
    judge(seen, names, Standing(lock=1, epoch=2, number=5))
    legacy.epoch(seen, names)
    last_run.crash(seen.items.get(names.last), "k")


def claims(data: bytes) -> None:
    """What stands in images, and in the folders beside files, where others may write: of several, the first few."""
    texts = dict(enumerate(text(one) for one in data.split(APART)[:4]))
    beside = SCRATCH / "disk.raw"
    _fill(file_claim.mark_of(beside), data)
    for one in (*texts.values(), file_claim.claim_of(beside)):
        assert image_claim.claimant(one).isprintable(), one
    found: dict[str, image_claim.ImageClaim] = {}
    for place, one in texts.items():
        with suppress(*OURS):
            found |= image_claim.decoded({f"rbd/f/p/{place}": one})
    epochs = [claim.epoch for claim in found.values() if claim.vm == "7"]
    assert image_claim.newest(found, "7") == max(epochs, default=0)
    image_claim.foreign(found, ["t"])
    assert not any(is_a_host(one) for one in image_claim.clients_of(found))


def is_a_host(client: str) -> bool:
    """Ceph shuts out all that is on it: port and nonce are 0."""
    return client.endswith(":0/0")


def _fill(folder: Path, data: bytes) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in enumerate(data.split(APART)[:4]):
        (folder / str(name)).write_bytes(content)
