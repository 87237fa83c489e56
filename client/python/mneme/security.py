"""How a client proves who it is, and has the server prove who that is."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import pathlib
import re
import threading
import time
from typing import Any, Callable, Optional, Union

import grpc

_Path = Union[None, str, "os.PathLike[str]"]
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,2048}")
_REREAD_S = 2.0


@dataclasses.dataclass(frozen=True)
class Security:
    """`mneme.connect(address, security=mneme.Security(ca="ca.pem", token_file="token"))`.

    ca: file of those who may have signed the server's certificate; encrypts. tls: encrypts, trusting whom gRPC trusts.
    certificate, key: files by which the client proves itself, where the server asks for it (mutual TLS). server_name:
    what the server's certificate names, when that is not the host of the address. These files are read when the client
    connects.
    token_file: file of the token that every call shows, read again when it changes; or `token`, the text itself. One is
    not sent unencrypted beyond this machine unless `insecure_token` says so.
    """

    ca: _Path = None
    tls: bool = False
    certificate: _Path = None
    key: _Path = None
    server_name: str = ""
    token_file: _Path = None
    token: str = dataclasses.field(default="", repr=False)
    insecure_token: bool = False

    @staticmethod
    def of_environment() -> "Security":
        """As the command line: MNEME_TLS, MNEME_TLS_CA, MNEME_TLS_CERTIFICATE, MNEME_TLS_KEY, MNEME_TLS_SERVER_NAME,
        MNEME_TOKEN_FILE, MNEME_TOKEN, MNEME_INSECURE_TOKEN."""

        def given(name: str) -> Optional[str]:
            return os.environ.get("MNEME_" + name) or None

        def said(name: str) -> bool:
            return (given(name) or "").lower() in ("1", "true", "on", "yes")

        return Security(
            ca=given("TLS_CA"),
            tls=said("TLS"),
            certificate=given("TLS_CERTIFICATE"),
            key=given("TLS_KEY"),
            server_name=given("TLS_SERVER_NAME") or "",
            token_file=given("TOKEN_FILE"),
            token=given("TOKEN") or "",
            insecure_token=said("INSECURE_TOKEN"),
        )

    def open_channel(self, address: str, options: list[tuple[str, Any]]) -> Any:
        """A channel, or what calls like one. ValueError when the parts do not fit; OSError when a file is not there."""
        encrypted = self.tls or self.ca is not None
        if not encrypted and (self.certificate is not None or self.key is not None):
            raise ValueError("a certificate is given, but no ca; nothing would be encrypted")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate and its key belong together; only one of them is given")
        encrypted = encrypted and not address.startswith("unix:")  # the permissions of a socket protect it
        if encrypted:
            if self.server_name:
                options = [*options, ("grpc.ssl_target_name_override", self.server_name)]
            credentials = grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))
            channel = grpc.secure_channel(address, credentials, options=options)
        else:
            channel = grpc.insecure_channel(address, options=options)
        if self.token_file is None and not self.token:
            return channel
        if not (encrypted or self.insecure_token or _stays_on_machine(address)):
            channel.close()
            raise ValueError(
                f"a token would travel to {address} unencrypted, for anybody on the way to take; give a ca for TLS"
            )
        return _ShowingChannel(channel, _Token(self.token_file, self.token))


def _read(path: _Path) -> Optional[bytes]:
    return None if path is None else pathlib.Path(path).read_bytes()


def _stays_on_machine(address: str) -> bool:
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked(token: str, where: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"{where} is no token; must have 16 to 2,048 letters, digits and -._~+/=")
    return token


class _Token:
    """The metadata that shows a token. Thread-safe."""

    def __init__(self, path: _Path, text: str) -> None:
        self._path = None if path is None else pathlib.Path(path)
        self._lock = threading.Lock()
        self._read_at = time.monotonic()
        self._metadata = self._metadata_of(_checked(text, "the token") if self._path is None else self._of_file())

    def _of_file(self) -> str:
        assert self._path is not None
        lines = self._path.read_text().splitlines()
        return _checked(lines[0].strip() if lines else "", f"the first line of {self._path}")

    @staticmethod
    def _metadata_of(token: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", "Bearer " + token),)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        if self._path is not None and time.monotonic() - self._read_at >= _REREAD_S:
            with self._lock:
                self._read_at = time.monotonic()
                try:
                    self._metadata = self._metadata_of(self._of_file())
                except (OSError, ValueError):
                    pass  # while it cannot be read, the token is the one that it had
        return self._metadata


class _ShowingChannel:
    """A channel whose calls show a token. Calls are made as this client makes them: of a request and a timeout.
    (Interceptors would cost each call thrice as much, and credentials of calls need a channel that is encrypted.)"""

    def __init__(self, channel: grpc.Channel, token: _Token) -> None:
        self._channel, self._token = channel, token

    def close(self) -> None:
        self._channel.close()

    def _showing(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(request: Any, timeout: Optional[float] = None) -> Any:
            return inner(request, timeout=timeout, metadata=self._token.metadata())

        return call

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._showing(self._channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._showing(self._channel.unary_stream(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._showing(self._channel.stream_stream(*arguments, **options))
