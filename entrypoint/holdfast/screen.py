"""The certificate of a screen that other hosts reach: copied out of the folder that host.toml names."""

from holdfast.rundir import RunDirectory

FOLDER = "screen-tls"
FILES = ("ca-cert.pem", "server-cert.pem", "server-key.pem")  # as QEMU and SPICE call them


def certificate(rundir: RunDirectory, source: str) -> str:
    folder = rundir.folder(FOLDER)
    for name in FILES:
        rundir.copy(f"{FOLDER}/{name}", f"{source}/{name}")
    return str(folder)
