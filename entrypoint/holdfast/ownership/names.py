"""The keys of one VM's ownership: where each record stands, now and with launchers up to November's."""

from holdfast.dataclass import dataclass


@dataclass(frozen=True, kw_only=True)
class LegacyNames:
    """Where launchers up to November's kept what they wrote: among the VM's own keys, which are its tenant's."""

    epoch: str
    fence: str
    pinned: str
    tpm: str
    last: str


@dataclass(frozen=True, kw_only=True)
class Names:
    """The keys of one VM's ownership. Of those below `keys`, its definition, launchers write lock and power.

    `prefix` is the tree's; `keys`, `own`, `log` and `claims` are prefixes, too, each with its slash.
    """

    prefix: str
    vm: str
    keys: str
    own: str
    lock: str
    epoch: str
    fence: str
    pinned: str
    status: str
    last: str
    tpm: str
    power: str
    host: str
    claims: str
    tree: str
    log: str
    legacy: LegacyNames

    @classmethod
    def of(cls, prefix: str, vm: str, lock: str) -> "Names":
        """Spell the keys of a VM of the tree below `prefix`, with the lock where LOCK has it."""
        keys, own = f"{prefix}/{vm}/", f"{prefix}/_own/{vm}/"
        return cls(
            prefix=prefix,
            vm=vm,
            keys=keys,
            own=own,
            lock=lock,
            epoch=f"{own}epoch",
            fence=f"{own}fence",
            pinned=f"{own}pinned",
            status=f"{prefix}/_run/{vm}",
            last=f"{prefix}/_last/{vm}",
            tpm=f"{prefix}/_secret/{vm}/tpm",
            power=f"{keys}power",
            host=f"{keys}host",
            claims=f"{prefix}/_claims/",
            tree=f"{prefix}/_id",
            log=f"{prefix}/_log/{vm}/",
            legacy=LegacyNames(
                epoch=f"{keys}epoch",
                fence=f"{keys}fence",
                pinned=f"{keys}pinned",
                tpm=f"{keys}secret/tpm",
                last=f"{keys}last",
            ),
        )
