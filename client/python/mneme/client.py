"""A connection to a deployment: its memories and its state."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Callable, Mapping, Optional, Type, Union

from numpy.typing import ArrayLike

from . import calls, errors, replacing, wire
from ._proto import admin_pb2, admin_pb2_grpc, memory_pb2_grpc, types_pb2, working_memory_pb2_grpc
from .memory import Memory
from .mixture import Mixture, Sources
from .security import Security

# What a drop is refused with when an earlier attempt did it.
_NO_MEMORY, _NO_ALIAS = calls.refused_as("MEMORY_NOT_FOUND"), calls.refused_as("ALIAS_NOT_FOUND")


class Client:
    """Thread-safe. Holds one channel; close it, or use it in a `with` block."""

    def __init__(self, address: str, timeout: float, attempts: int, security: Security) -> None:
        self._address = address
        self._channel = calls.open_channel(address, security)
        self._caller = calls.Caller(timeout, attempts)
        self._data = memory_pb2_grpc.MemoryServiceStub(self._channel)
        self._admin = admin_pb2_grpc.AdminServiceStub(self._channel)
        self._working = working_memory_pb2_grpc.WorkingMemoryServiceStub(self._channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._address!r})"

    def close(self) -> None:
        self._channel.close()

    def memory(self, name: str, *, fingerprint: Optional[Mapping[str, Any]] = None) -> Memory:
        """A handle to a memory; asks the server nothing. Each request presents the fingerprint unless it brings one."""
        return Memory(name, self._caller, self._data, self._admin, self._working, fingerprint)

    def mix(
        self,
        sources: Sources,
        *,
        append: Union[None, Memory, str] = None,
        fingerprint: Optional[Mapping[str, Any]] = None,
    ) -> Mixture:
        """Several memories read as one: mix([(wiki, 0.5), (tenant, 0.3), (session, 0.2)]), or a `mneme.Source` for
        partitions, a k or a version of its own. What a decode stream learns goes to `append`. Asks the server nothing;
        each request presents the fingerprint to all sources."""
        return Mixture(sources, append, self._caller, self._data, fingerprint)

    def create_memory(
        self,
        name: str,
        dim: int,
        *,
        metric: str = "l2",
        value: str = "token",
        vocab_size: int = 0,
        value_dim: int = 0,
        key_dtype: str = "f32",
        spread: Optional[str] = None,
        index: str = "auto",
        capacity: int = 0,
        fingerprint: Optional[Mapping[str, Any]] = None,
        exist_ok: bool = False,
    ) -> Memory:
        """Creates a memory; its handle presents the fingerprint. AlreadyExists: the name is taken, without exist_ok.

        index: how sealed rows are indexed: "auto", "flat", "f16", "int8", "pq:M", "rabitq:B", "pca:D",
        "opq:M" or a FAISS factory string of one of them. capacity: entries of each partition, the oldest of which make
        room; such a memory lives on one shard (spread "one"), any other over all of them unless told otherwise.
        """
        description = admin_pb2.MemoryDescription(
            name=name,
            dimension=dim,
            metric=wire.choice("metric", metric, wire.METRICS),
            key_dtype=wire.choice("key_dtype", key_dtype, {"f32": types_pb2.DTYPE_F32, "f16": types_pb2.DTYPE_F16}),
            value_kind=wire.choice("value", value, wire.VALUE_KINDS),
            vocabulary_size=vocab_size,
            value_dimension=value_dim,
            spread=types_pb2.SPREAD_UNSPECIFIED if spread is None else wire.choice("spread", spread, wire.SPREADS),
            index=index,
            capacity=capacity,
            fingerprint=wire.fingerprint(fingerprint),
        )
        try:
            self._caller.call(self._admin.CreateMemory, admin_pb2.CreateMemoryRequest(memory=description))
        except errors.AlreadyExists:
            if not exist_ok:
                raise
        return self.memory(name, fingerprint=fingerprint)

    def memories(self) -> list[admin_pb2.MemoryDescription]:
        """All memories, by name."""
        found: list[Any] = []
        token = ""
        while True:
            page = self._caller.call(self._admin.ListMemories, admin_pb2.ListMemoriesRequest(page_token=token))
            found += page.memories
            token = page.next_page_token
            if not token:
                return found

    def drop_memory(self, name: str) -> None:
        """Drops a memory; its name is free when this returns. FailedPrecondition while an alias points to it."""
        self._caller.call(self._admin.DropMemory, admin_pb2.DropMemoryRequest(memory=name), done=_NO_MEMORY)

    def set_alias(self, alias: str, memory: str, *, expected: Optional[str] = None) -> Optional[str]:
        """Points an alias to a memory, at one moment: made when there is none. Returns the name of the memory that it
        pointed to before, or None.

        Wherever a call names a memory it may name an alias. expected: the memory that it must point to before ("":
        none, there must be no such alias); Aborted when it does not. AlreadyExists: a memory has the name. Without
        `expected` a call that was sent again, since its answer was lost, tells `memory` itself.
        """
        request = admin_pb2.SetAliasRequest(alias=alias, memory=memory, expected_memory=expected)

        def done(error: errors.MnemeError) -> Optional[admin_pb2.SetAliasResponse]:
            moved = error.reason == "ALIAS_MOVED" and self.aliases().get(alias) == self.memory(memory).describe().name
            return admin_pb2.SetAliasResponse(previous_memory=expected) if moved else None

        return self._caller.call(self._admin.SetAlias, request, done=done).previous_memory or None

    def drop_alias(self, alias: str) -> None:
        """Drops an alias; its name is free when this returns, and the memory stays."""
        self._caller.call(self._admin.DropAlias, admin_pb2.DropAliasRequest(alias=alias), done=_NO_ALIAS)

    def aliases(self) -> dict[str, str]:
        """The name of the memory that each alias points to, by alias."""
        found: dict[str, str] = {}
        request = admin_pb2.ListAliasesRequest()
        while True:
            page = self._caller.call(self._admin.ListAliases, request)
            found.update((each.alias, each.memory) for each in page.aliases)
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    def replace(
        self,
        alias: str,
        keys: ArrayLike,
        values: wire.Values,
        *,
        like: Optional[str] = None,
        keep_old: bool = False,
        **load: Any,
    ) -> Memory:
        """Puts a new memory behind an alias: creates one like the old (the same dimension, metric, values, index, ..,
        under a name of its own), loads keys [n, dim] and values [n] into it as `Memory.bulk_load(**load)` does, builds
        its index, swings the alias, and drops the old. Who asks through the alias meanwhile is answered by the old
        memory or by the new one, whole. Returns the new memory by its own name.

        like: a memory that the new one is like, instead of the old; needed when there is no such alias yet. keep_old:
        the old memory is not dropped; nor is it while another alias points to it. Sessions stay with the old memory.
        When the load fails, or the alias was swung by somebody else meanwhile (Aborted), the new memory is dropped and
        the alias stays as it was. When only the drop of the old memory fails, a warning names it.
        """
        return replacing.replace(self, alias, like, keep_old, lambda fresh: fresh.bulk_load(keys, values, **load))

    def create_like(self, name: str, like: str) -> Memory:
        """Creates an empty memory of the same description as another."""
        description = self.memory(like).describe()
        description.name = name
        for given_by_the_server in ("number", "created_ms"):
            description.ClearField(given_by_the_server)

        def done(error: errors.MnemeError) -> Optional[bool]:
            if error.reason != "MEMORY_EXISTS":
                return None
            made = self.memory(name).describe()
            description.number, description.created_ms = made.number, made.created_ms
            return True if made == description else None

        self._caller.call(self._admin.CreateMemory, admin_pb2.CreateMemoryRequest(memory=description), done=done)
        return self.memory(name)

    def back_up(
        self,
        *,
        keep: int = 0,
        progress: Optional[Callable[[str, int, int], None]] = None,
        timeout: Optional[float] = None,
    ) -> admin_pb2.CreateBackupResponse:
        """Writes a backup of everything into the directory that the server was given (--backup-dir), or of each shard a
        part into that of its process, while it is read and written. Returns its number, entries and bytes (`.backup`)
        and what was written (`.new_bytes`).

        keep: the oldest are removed afterwards until so many are left; 0: none is. progress(stage, bytes done, bytes in
        all). FailedPrecondition: there is no such directory, or another backup is being written. Restore one with
        `mneme restore`."""
        step = admin_pb2.CreateBackupResponse()
        try:
            for step in self._admin.CreateBackup(admin_pb2.CreateBackupRequest(keep=keep), timeout=timeout):
                if progress:
                    progress(step.stage, step.bytes_done, step.bytes_total)
        except errors.grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None
        return step

    def backups(self) -> list[admin_pb2.Backup]:
        """The backups in that directory, oldest first."""
        found: list[Any] = []
        request = admin_pb2.ListBackupsRequest()
        while True:
            page = self._caller.call(self._admin.ListBackups, request)
            found += page.backups
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    def replicas(self, digest: bool = False, timeout: Optional[float] = None) -> list[admin_pb2.ShowClusterResponse]:
        """Each replica of each shard: where it is, whether it serves, how far it has come with its log.

        digest: with what each holds as 16 bytes, the same where two replicas of a shard hold the same; all of a shard
        are of one offset of its log. Each replica reads all that it has for that."""
        request = admin_pb2.ShowClusterRequest(digest=digest)
        try:
            return list(self._admin.ShowCluster(request, timeout=timeout))
        except errors.grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None

    def statistics(self) -> admin_pb2.GetStatisticsResponse:
        """The whole deployment in numbers."""
        return self._caller.call(self._admin.GetStatistics, admin_pb2.GetStatisticsRequest())

    def ping(self, timeout: Optional[float] = None) -> float:
        """Seconds that an empty call takes."""
        start = time.perf_counter()
        self._caller.call(self._admin.Ping, admin_pb2.PingRequest(), timeout)
        return time.perf_counter() - start


def connect(
    address: str, *, timeout: float = 60.0, attempts: int = 5, security: Optional[Security] = None
) -> Client:
    """A client of HOST:PORT or unix:PATH. `timeout` (seconds) bounds each call with all its attempts; a call retries
    only when the server is unavailable, or says when to come back. security: encryption and the token that calls show;
    None: as the environment says (`mneme.Security.of_environment`)."""
    return Client(address, timeout, attempts, Security.of_environment() if security is None else security)
