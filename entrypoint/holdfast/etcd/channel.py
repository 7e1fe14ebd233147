"""A gRPC channel to one etcd endpoint, through python-etcd3."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import etcd3
from etcd3 import etcdrpc as rpc

from holdfast.config.endpoint import Endpoint
from holdfast.config.settings import Settings
from holdfast.errors import Unreachable, UsageError, reason
from holdfast.etcd.store import SYSTEM_CA

# gRPC's own back-off grows to two minutes: a lease would be lost long after etcd is back.
# A proxy variable meant for the web must not catch etcd's requests.
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),  # this is also what one connection gets to come up
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)


class Client:
    """A connection to one endpoint."""

    def __init__(self, endpoint: Endpoint, settings: Settings, timeout: float) -> None:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        self._etcd = etcd3.client(
            host=host,
            port=endpoint.port,
            timeout=timeout,
            grpc_options=CHANNEL_OPTIONS,
            **_tls(endpoint, settings),
            **_user(settings),
        )
        self.kv = self._etcd.kvstub
        self.lease = self._etcd.leasestub
        self.watch = rpc.WatchStub(self._etcd.channel)
        self._settings = settings
        self._logging_in = threading.Lock()

    @property
    def has_user(self) -> bool:
        return bool(self._settings.etcd_username)

    @property
    def authentication(self) -> dict[str, Any]:
        """The token of a user. gRPC would carry it as a credential only where there is TLS."""
        return {"metadata": self._etcd.metadata}

    def log_in(self, *, stale: Mapping[str, Any]) -> None:
        """Get a token in place of the stale one; another thread may have got it meanwhile."""
        with self._logging_in:
            if self.authentication == stale:
                user = _user(self._settings)
                request = rpc.AuthenticateRequest(name=user["user"], password=user["password"])
                stub = rpc.AuthStub(self._etcd.channel)
                reply = stub.Authenticate(request, timeout=self._etcd.timeout)
                self._etcd.metadata = (("token", reply.token),)

    def close(self) -> None:
        self._etcd.close()


def _tls(endpoint: Endpoint, settings: Settings) -> dict[str, str | None]:
    if not endpoint.tls:
        return {}
    return {
        "ca_cert": settings.etcd_cacert or SYSTEM_CA,
        "cert_cert": settings.etcd_cert or None,
        "cert_key": settings.etcd_key or None,
    }


def _user(settings: Settings) -> dict[str, str]:
    if not settings.etcd_username:
        return {}
    try:
        password = Path(settings.etcd_password_file).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise _unreadable(error) from error
    return {"user": settings.etcd_username, "password": password}


def _unreadable(error: OSError) -> UsageError:
    return UsageError(
        f"{error.filename}: {reason(error)}", hint="etcd's TLS files or password file"
    )


def connect(endpoint: Endpoint, settings: Settings, timeout: float) -> Client:
    """Open a channel; `timeout` is in seconds. Raises Unreachable; UsageError for a file."""
    try:
        return Client(endpoint, settings, timeout)
    except OSError as error:
        raise _unreadable(error) from error
    except etcd3.exceptions.Etcd3Exception as error:
        raise Unreachable(f"etcd at {endpoint}: {error}") from error
