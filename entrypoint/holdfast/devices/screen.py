"""The certificate of a screen that other hosts reach: copied out of the folder that host.toml names."""

from holdfast.errors import ConfigError, HostLacks
from holdfast.runtime.rundir import RunDirectory
from holdfast.storage import local
from holdfast.storage.pathname import ANYWHERE

FOLDER = "screen-tls"
FILES = ("ca-cert.pem", "server-cert.pem", "server-key.pem")  # as QEMU and SPICE call them


def certificate(rundir: RunDirectory, source: str) -> str:
    """Copy it; return the folder. Raises HostLacks."""
    folder = rundir.folder(FOLDER)
    for name in FILES:
        path = f"{source}/{name}"
        try:
            with local.reading("host.toml screen_tls", path, ANYWHERE) as file:
                rundir.copy(f"{FOLDER}/{name}", file, path)
        except ConfigError as error:  # it is no key's fault
            raise HostLacks(error.message) from error
    return str(folder)
