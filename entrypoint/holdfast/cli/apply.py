"""`holdfast apply`, `diff`, `export`: VMs as files of keys, one VM a file, called like it."""

from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from holdfast import log
from holdfast.cli import definition, edition, terminal, transaction
from holdfast.cli.arguments import Parser
from holdfast.cli.definition import Definition
from holdfast.cli.rm import refuse_in_use, remove
from holdfast.cli.show import look
from holdfast.cli.subject import connected
from holdfast.cli.tree import Tree
from holdfast.config.settings import Settings
from holdfast.dataclass import dataclass
from holdfast.errors import BadInput, ConfigError, HoldfastError, UsageError
from holdfast.etcd.store import Store
from holdfast.grammar import Refused, identifier
from holdfast.system.config_file import vm_file

SUFFIXES = (".yaml", ".yml")
STATES = ("power",)  # keys that a file need not have: without them they stay as they are
DIFFERENT = 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a file makes of a VM."""

    base: Definition
    wanted: Mapping[str, bytes]
    edit: definition.Edit

    @property
    def sign(self) -> str:
        return "=" if not self.edit else "~" if self.base.own else "+"


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("apply")
    parser.add_argument(
        "files", metavar="FILE|DIR", nargs="+", help="vm.yaml, or a folder of them"
    )
    parser.add_argument(
        "--prune", action="store_true", help="remove VMs that no file has, and that do not run"
    )
    parser.add_argument(
        "--yes", action="store_true", help="--prune: do it, knowing what is given up"
    )
    parser.add_argument("-m", "--why", default="", help="for `holdfast history`")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would change, and when it acts"
    )
    given = parser.parse_args(arguments)
    with connected(None, environ) as (config, store):
        plans = planned(files(given.files), store, config)
        surplus = others(plans, store, config) if given.prune else []
        show(plans, environ)
        for vm in surplus:
            print(f"- {vm}  no file has it")
        if surplus and not (given.yes or given.dry_run):
            raise UsageError(
                f"--prune would remove {len(surplus)} VMs; nothing was written",
                hint="then: --prune --yes",
            )
        if given.dry_run:
            print("nothing was written")
            return 0
        return max([carried_out(plans, store, given), pruned(surplus, store, config, given)])


def diff(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("diff")
    parser.add_argument(
        "files", metavar="FILE|DIR", nargs="+", help="vm.yaml, or a folder of them"
    )
    given = parser.parse_args(arguments)
    with connected(None, environ) as (config, store):
        plans = planned(files(given.files), store, config)
    show(plans, environ)
    return DIFFERENT if any(plan.edit for plan in plans) else 0


# -- files


def files(given: Iterable[str]) -> dict[str, Path]:
    """By the VM's name. All that is wrong is told together."""
    found: dict[str, Path] = {}
    faults = []
    for path in [one for name in given for one in _files(Path(name))]:
        try:
            vm = identifier.name(path.stem)
        except Refused as refused:
            faults.append(f"{path}: the file's name is the VM's, which {refused.rule}")
            continue
        if vm in found:
            faults.append(f"{path}: VM {vm} is {found[vm]} already")
        found[vm] = path
    if faults:
        raise UsageError("\n".join(faults))
    if not found:
        raise UsageError(
            f"no file of keys is there: {' '.join(given)}", hint="they end in .yaml or .yml"
        )
    return found


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.suffix in SUFFIXES and one.is_file())
    return [path]


def planned(found: Mapping[str, Path], store: Store, config: Settings) -> list[Plan]:
    """Each VM as it is and as it is to be. Nothing is written where one file is wrong."""
    plans, faults = [], []
    for vm, path in found.items():
        try:
            plan = made(vm, path, store, config)
            faults += [f"{path}: {line}" for line in _judged(plan)]
            plans.append(plan)
        except BadInput as error:
            faults += [f"{path}: {line}" for line in error.lines()]
    if faults:
        raise ConfigError("\n".join(faults), hint="nothing was written")
    return plans


def made(vm: str, path: Path, store: Store, config: Settings) -> Plan:
    wanted = dict(vm_file(str(path)))
    base = definition.read(store, config, vm)
    stays = {
        name: base.own[name].value for name in STATES if name in base.own and name not in wanted
    }
    wanted = {**wanted, **stays}
    return Plan(base=base, wanted=wanted, edit=definition.edit_of(base.values(), wanted))


def _judged(plan: Plan) -> list[str]:
    try:
        for line in definition.refuse_faults(plan.base, plan.wanted):
            log.warning(line)
    except ConfigError as error:
        return error.message.splitlines()
    return []


def others(plans: Sequence[Plan], store: Store, config: Settings) -> list[str]:
    kept = {plan.base.vm for plan in plans}
    return [one.vm for one in Tree(store, config.prefix).records() if one.vm not in kept]


# -- telling and doing


def show(plans: Sequence[Plan], environ: Mapping[str, str]) -> None:
    sheet = terminal.sheet(environ)
    for plan in plans:
        if not plan.edit:
            continue
        print(f"{plan.sign} {plan.base.vm}")
        print(*(f"  {line}" for line in edition.lines(plan.base, plan.edit, sheet)), sep="\n")
    if same := sum(not plan.edit for plan in plans):
        print(f"= {same} {'VM' if same == 1 else 'VMs'} as they are: nothing to do")


def carried_out(plans: Sequence[Plan], store: Store, given: Namespace) -> int:
    """One VM that was changed meanwhile hinders no other."""
    status = 0
    for plan in plans:
        try:
            if plan.edit:
                revision = transaction.write(store, plan.base, plan.edit, "apply", given.why)
                print(f"{plan.base.vm}: written at revision {revision}")
        except HoldfastError as error:
            status = refused(error)
    return status


def pruned(surplus: Iterable[str], store: Store, config: Settings, given: Namespace) -> int:
    status = 0
    for vm in surplus:
        try:
            about = look(store, definition.settings_of(config, vm))
            refuse_in_use(about)
            remove(store, about, given.why or "no file has it")
            print(f"{vm}: removed; its volumes stay where they are")
        except HoldfastError as error:
            status = refused(error)
    return status


def refused(error: HoldfastError) -> int:
    for line in error.lines():
        log.error(line)
    return error.status


# -- export


def export(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = Parser("export")
    parser.add_argument("vms", metavar="VM", nargs="*", help="default: all, with --dir")
    parser.add_argument(
        "-d", "--dir", metavar="DIR", help="write vm.yaml there for each VM, readable by you alone"
    )
    given = parser.parse_args(arguments)
    if not given.dir and len(given.vms) != 1:
        parser.error("without --dir it takes one VM")
    with connected(None, environ) as (config, store):
        vms = given.vms or [one.vm for one in Tree(store, config.prefix).records() if one.defined]
        for vm, text in exported(vms, store, config):
            if given.dir:
                stored(Path(given.dir) / f"{vm}.yaml", text)
            else:
                print(text, end="")
    return 0


def exported(vms: Iterable[str], store: Store, config: Settings) -> Iterator[tuple[str, str]]:
    from holdfast.keys.yaml_text import yaml_text  # noqa: PLC0415 - each command loads its own

    for vm in vms:
        base = definition.read(store, config, vm)
        definition.refuse_absent(base)
        yield vm, yaml_text(base.values())


def stored(path: Path, text: str) -> None:
    """There may be passwords in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.touch(mode=0o600)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
