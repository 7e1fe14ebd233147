"""What the fuzzers begin with: good inputs, and the bad ones that were found once."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Mapping, Sequence

from describing import HOST_TOML
from fuzz.mutation import NESTED
from golden.case import CASES
from unit.keys.test_keys import GOOD

from holdfast import keys
from holdfast.dataclass import replace
from holdfast.devices import tpm_record
from holdfast.keys import extra_flags
from holdfast.keys.vm_file import raw_from_file
from holdfast.ownership import legacy, records
from holdfast.ownership.records import Claim, FencingRecord, Image, ImageKind
from holdfast.storage import image_claim
from holdfast.storage.image_claim import ImageClaim

APART = b"\x1e"  # between the keys of a description
NAMES = [name.encode() for name in keys.KEYS]


def joined(own: Mapping[str, bytes]) -> bytes:
    return APART.join(b"%s=%s" % (key.encode(), value) for key, value in own.items())


GOLDENS = [joined(raw_from_file(case.keys.read_text("utf-8"))) for case in CASES]
FENCE = FencingRecord(
    epoch=3,
    host="a",
    boot_id="b",
    machine_id="m",
    images=(Image(disk="r", kind=ImageKind.rbd, id="rbd/f/p/i"),),
    clients=("10.0.0.1:0/7",),
    heard=("10.0.0.2:0/8",),
)
IMAGE_CLAIM = ImageClaim(
    tree="t", prefix="/kvm", vm="7", lock="/kvm/7/lock", epoch=3, host="a", clients=FENCE.clients
)
CLAIM = Claim(vm="7", lock="/kvm/7/lock", epoch=3, machine_id="m")
HEARD = records.encode(replace(FENCE, heard=("10.0.0.3:0/9",)))
MOVED = {"old_epoch": legacy.EPOCH, "old_fence": legacy.FENCE}
HEADER = b'"header":{"cluster_id":"1","revision":"7"}'
# Merge keys copy: these 500 bytes would be a billion nodes.
BOMB = b"a0: &a0 {b: 1}\n" + b"".join(
    b"a%d: &a%d {<<: [%s]}\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)
)
# The backing file's name stands at 2**63.
QCOW2 = b"".join(
    (
        b"QFI\xfb",
        (3).to_bytes(4, "big"),
        (1 << 63).to_bytes(8, "big"),
        bytes(3),
        b"\x10" * 2,
        bytes(84),
    )
)
INTERFACES = (
    b'\xff{"return":NUMBER}\n{"return":[{"hardware-address":"52:54:00:0:0:1",'
    b'"ip-addresses":[{"ip-address":"10.0.0.1"}]}]}\n'
)

# fmt: off
MEMBER, CONTENT = "a/disk.raw", bytes(range(256)) * 16


def zipped(method: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in ("README", MEMBER):  # of 1980: the same each time
            archive.writestr(zipfile.ZipInfo(name), CONTENT, method)
    return made.getvalue()


def tarred(form: int) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        entry = tarfile.TarInfo(MEMBER)
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))
    return made.getvalue()


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CORPORA: dict[str, Sequence[bytes]] = {
    "keys": [*GOLDENS, b"ram=1G\x1eextra_flags="],
    "defaults": [*GOLDENS[:20], b"title={{ vm * 9 }}"],
    "extra_flags": [
        b"-nodefaults -usbdevice tablet -device e1000,netdev=a", b"-smp 2 -cpu qemu64,+ssse3 -machine type=pc,accel=kvm",
        b"""-chardev '{"string":",backend=file,path=/tmp/x,id=c0,host="}'""", b"", b" ", b"-set chardev.qmp.mux=on",
        *(b"-device '%s'" % nested for nested in NESTED), *(b"-object '{\"qom-type\":%s}'" % nested for nested in NESTED),
        b"-device usb-tablet,id=a -global virtio-blk-pci.num-queues=1", b"-netdev user,id=u,restrict=on",
        b"""-device '{"driver":"virtio-rng-pci","id":"a"}'""", b"-object rng-random,id=a,filename=/dev/urandom",
        b"-chardev null,id=n -serial chardev:n", b"-nic none -net nic,model=e1000",
    ],
    "grammars": [f"{key}={value}".encode() for key, value in GOOD.items()],
    "records": [
        records.encode(FENCE), records.encode(CLAIM), image_claim.encode(IMAGE_CLAIM).encode(), tpm_record.pack(b"abc", ""), b"7", b"[" * 5000, b'{"host":"a"}', *NESTED,
        b'{"machine":"q35","cpu":"max"}', b'["10.0.0.1:0/7"]', b'{"state":"crashed","keys":"k"}',
    ],
    "moved": [
        joined({"epoch": b"5", "fence": records.encode(FENCE), **MOVED}), joined({"old_epoch": b"4", "old_fence": records.encode(FENCE), "old_pinned": b"{}"}),
        joined({"epoch": b"5", "fence": HEARD, "old_epoch": b"6", "old_fence": records.encode(FENCE), "tpm": b"t", "old_tpm": b"u"}),
        joined({"lock": b'{"host":"a"}', "last": b'{"state":"crashed","keys":"k"}', "tree": b"t", "old_epoch": b"9" * 19}),
    ],
    "claims": [
        image_claim.encode(IMAGE_CLAIM).encode(), APART.join([image_claim.encode(IMAGE_CLAIM).encode()] * 3), b"[" * 5000, *NESTED,
        records.encode(CLAIM),
    ],
    "fetcher": [
        b'{"progress":["fetching",1,2]}\n{"answer":{"missing":""}}', b'{"answer":{"mismatch":"md5:0"}}', b'{"answer":{"unchanged":true}}',
        b'{"started":{"etag":"a","modified":"b"}}\n{"progress":["unpacking",9223372036854775808,1]}', b"Traceback\x1b[2J", b"[" * 5000,
        b'{"fault":{"kind":"HostLacks","message":"disks/r/source/image: a\\nb","hint":"c\\u001b[2J\\nd"}}', *NESTED,
    ],
    "yaml": [b"a: 1\nb: [x, {c: d}]\n", BOMB, b"ram: 1G\ndisks: {root: {path: /a}}\n", b"a: &a [*a]"],
    "url": [b"http://a/b?c#d", b"https://u:p@[::1]:80/", b"http://2130706433/", b"file:///x"],
    "gateway": [
        b"{%s}" % HEADER, b'{"message":"no healthy upstream"}', b'{"result":{%s,"ID":"7","TTL":"9"}}' % HEADER,
        b'{%s,"responses":[{"response_range":{"kvs":[{"key":"YQ==","value":"Yg==","mod_revision":"5"}]}}]}' % HEADER,
        b'{"result":{%s,"events":[{"kv":{"key":"YQ=="}}]}}' % HEADER, b'{"error":{"grpc_code":5,"message":"gone"}}',
    ],
    "monitor": [
        b'{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}}', b'{"return":{},"id":1}', b"[" * 5000,
        b'{"error":{"class":"GenericError","desc":"no"},"id":1}',
    ],
    "greeting": [b'{"QMP":{"version":{"qemu":{"micro":1,"minor":0,"major":10}}}}\n{"return":{},"id":1}'],
    "agent": [INTERFACES, b'[{"hardware-address":"a","ip-addresses":[{"ip-address":"::1"}]}]'],
    "qcow2": [QCOW2, QCOW2[:72], b"QFI\xfb" + bytes(100)],
    "archives": [
        *map(zipped, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)),
        *map(tarred, (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)), gzip.compress(CONTENT, mtime=0),
        gzip.compress(tarred(tarfile.PAX_FORMAT), mtime=0), lzma.compress(CONTENT), bz2.compress(CONTENT), bz2.compress(zipped(8)),
    ],
    "http": [
        ANSWER, ANSWER * 2, b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER, ANSWER.replace(b"2\r", b"9" * 19 + b"\r"),
        b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n{}\n{}",
    ],
    "host.toml": [HOST_TOML.encode(), b'args_allowlist = ["any"]\n[network]\nports_per_vm = 9\n', b"open_screens = true", b"a = " + b"[" * 3000],
    "environment": [b"VM=7\x1eTTL=10\x1eETCD_ENDPOINTS=http://a:2379,[::1]:1", b"LOCK=/kvm/7/lock\x1eVM_RAM=1G"],
    "templates": [b"{{ vm }}.a", b"{{ 'a' * 10 }}{% if vm == '7' %}b{% endif %}", b"{{ vm.replace('a', 'b') | upper }}"],
}
WORDS: dict[str, Sequence[bytes]] = {
    "keys": [*NAMES, APART],
    "defaults": [b"{{ vm }}", b"{% if a %}", *NAMES],
    "extra_flags": [
        *(f"-{name} ".encode() for name in extra_flags.DENIED), b"driver=", b",file=/etc/passwd", b",path=x", b"tcp:a:1",
        b"type=", b"hostfwd=tcp::1-:1", b",chardev=qmp", b"vfio-pci,host=03:00.0", b"usb-host", b"socket,id=a", b"-device ",
        b"-netdev ",
    ],
    "grammars": NAMES,
    "moved": [APART, b"old_epoch=", b"old_fence=", b"fence=", b"/kvm/7/", b'"clients":["10.0.0.9:0/0"]', legacy.EPOCH, legacy.FENCE],
    "claims": [APART, b'"tree":"u"', b'"epoch":1e999', b'"vm":"../x"', b"\\u001b[2J", b'"clients":["10.0.0.9:0/0"]'],
    "fetcher": [b"\n", b'{"answer":', b'{"fault":', b"true", b"\\u001b[2J", b"\\ud800", b"99999999999999999999", b"\\n" * 99],
    "agent": [b'\xff{"return":NUMBER}\n'],
    "archives": [b"PK\x05\x06", b"PK\x01\x02", b"ustar", b"\x1f\x8b\x08\x00", b"\xff" * 8, b"99999999999\x00"],
    "http": [b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"ffffffff\r\n", b"-1", b"HTTP/1.1 100 x\r\n\r\n"],
    "host.toml": [b"pools", b"image_paths", b"[pools.a]\n", b"usb"],
    "environment": [b"VM=", APART, b"KEY_PREFIX=", b"LOCK_WAIT="],
    "templates": [b"{{ ", b" }}", b"|", b"replace('a','b')", b"__class__", b"{% for a in vm %}", b"**", b"~"],
}
# fmt: on
