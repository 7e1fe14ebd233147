"""What is allowed where no host is asked: keys are judged by what they say, and by each host's host.toml on that host."""

from collections.abc import Iterator, Mapping

from holdfast.grammar import HIGHEST_PORT
from holdfast.policy.host_config import ANY, HostConfig
from holdfast.policy.network_limits import MOST_PORTS, NetworkLimits
from holdfast.policy.pool import DirectoryPool, Pool

SOME = "default"  # a pool that some host may have


class AnyPool(Mapping[str, Pool]):
    """Each name may be that of a pool."""

    def __getitem__(self, name: str) -> Pool:
        return DirectoryPool(name=name, path=f"/{name}")

    def __iter__(self) -> Iterator[str]:
        return iter((SOME,))

    def __len__(self) -> int:
        return 1


class AnyWord(tuple[str, ...]):
    """A list on which everything stands."""

    __slots__ = ()

    def __contains__(self, _: object) -> bool:
        return True


def anywhere() -> HostConfig:
    """A host.toml that refuses nothing."""
    ports = NetworkLimits(ports=(range(1, HIGHEST_PORT + 1),), ports_per_vm=MOST_PORTS)
    return HostConfig(
        image_paths=("/",),
        share_paths=("/",),
        args_allowlist=(ANY,),
        usb=("*",),
        pci=AnyWord(),
        time_fence=True,
        open_screens=True,
        default_pool=SOME,
        pools=AnyPool(),
        network=ports,
    )
