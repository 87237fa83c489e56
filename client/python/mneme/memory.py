"""One memory of a deployment: write entries, read entries, ask what it knows of a hidden state."""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional

import numpy as np
from numpy.typing import ArrayLike

from . import calls, errors, exporting, leasing, masks, requests, results, splitting, streams, wire, working
from ._proto import admin_pb2, memory_pb2, receipts_pb2
from .asking import Asking, Partitions

# Bytes of keys, and rows: of a batch of an import, and of a load.
_BATCH = (4 * 1024 * 1024, 16_384)
_BULK_BATCH = (8 * 1024 * 1024, 65_536)
_MAX_PAUSE = 1_800.0  # seconds that a server may ask to wait without any progress: an index of a full ram takes minutes


class Memory(Asking, masks.WithMasks):
    """Thread-safe. Keeps nothing but the name, and the fingerprint that each request presents unless it brings its own:
    a memory that was dropped answers NotFound."""

    def __init__(
        self,
        name: str,
        caller: calls.Caller,
        data: Any,
        admin: Any,
        states: Any,
        fingerprint: Optional[Mapping[str, Any]],
    ) -> None:
        self.name = name
        self._fingerprint = fingerprint
        self._caller = caller
        self._data = data
        self._admin = admin
        self._states = states
        self._sessions = working.Sessions(name, caller, states)

    def __repr__(self) -> str:
        return f"Memory({self.name!r})"

    # --- write ---

    def insert(
        self,
        keys: ArrayLike,
        values: wire.Values,
        *,
        ids: Optional[ArrayLike] = None,
        partition: int = 0,
        request_id: Optional[str] = None,
        durability: str = "sync",
        fingerprint: Optional[Mapping[str, Any]] = None,
        timeout: Optional[float] = None,
        **columns: Any,
    ) -> results.Inserted:
        """Writes a batch. Without ids the server gives them.

        More than 65,536 entries, or 64 MiB, go as several messages, in order, each within `timeout`: a failure leaves
        what was written before it, and the same call with the same request_id writes the rest. All of them go to the
        memory that an alias points to at the first.
        values: integers are tokens, floating-point rows vectors, a sequence of bytes or str bytes. columns: weights,
        scores, labels, sources, positions, expiries_ms, each an array or one number for all. A retry (also one of
        yours, with the same request_id) is applied once.
        """

        def build(some_keys: Any, some_values: Any, some_columns: Mapping[str, Any]) -> memory_pb2.InsertRequest:
            return self._batch(some_keys, some_values, some_columns, partition, durability, fingerprint)

        request_id = request_id or calls.new_request_id()
        own_name = ""
        answers = []
        for part in splitting.insert_parts(build, keys, values, {"ids": ids, **columns}, request_id):
            if part.request_id != request_id:  # one of several, which an alias may not scatter
                part.memory = own_name = own_name or self._own_name(timeout)
            answers.append(self._caller.call(self._data.Insert, part, timeout))
        return splitting.join_inserted([results.read_inserted(answer) for answer in answers])

    def insert_stream(
        self,
        batches: Iterable[Mapping[str, Any]],
        *,
        partition: int = 0,
        durability: str = "sync",
        fingerprint: Optional[Mapping[str, Any]] = None,
        timeout: Optional[float] = None,
        bulk: bool = False,
    ) -> Iterator[results.Inserted]:
        """Writes batches, each the arguments of `insert` as a mapping, in order; yields the acknowledgements.

        insert_stream({"keys": keys, "values": tokens, "sources": 3} for keys, tokens in source).
        The server's window bounds what is in flight, so that an endless iterator is fine. bulk: batches of a MiB and
        more reach the store as tables, and are indexed once no more come; see `bulk_load`.
        """

        def messages() -> Iterator[memory_pb2.InsertRequest]:
            for batch in batches:
                _check_batch(batch)
                columns = {name: given for name, given in batch.items() if name not in ("keys", "values", "tokens")}
                values = batch["values"] if "values" in batch else batch["tokens"]
                request = self._batch(batch["keys"], values, columns, partition, durability, fingerprint)
                request.bulk = bulk
                yield request

        return streams.insert_all(self._data.InsertStream, messages(), timeout)

    def import_rows(
        self,
        keys: ArrayLike,
        values: wire.Values,
        *,
        ids: Optional[ArrayLike] = None,
        first_id: int = 0,
        partition: int = 0,
        durability: str = "sync",
        fingerprint: Optional[Mapping[str, Any]] = None,
        progress: Optional[Callable[[int, int], None]] = None,
        **columns: Any,
    ) -> results.Inserted:
        """Writes any number of rows over one stream. Ids are first_id, first_id + 1, ... unless given, so that the same
        import can be run again. `progress(done, total)` is called at each acknowledgement. All rows go to the memory
        that an alias points to at the start."""
        place = {"partition": partition, "durability": durability, "fingerprint": fingerprint}
        return self._itself()._import(keys, values, ids, first_id, columns, progress, _BATCH, **place)

    def bulk_load(
        self,
        keys: ArrayLike,
        values: wire.Values,
        *,
        ids: Optional[ArrayLike] = None,
        first_id: int = 0,
        partition: int = 0,
        fingerprint: Optional[Mapping[str, Any]] = None,
        progress: Optional[Callable[[int, int], None]] = None,
        build: bool = True,
        **columns: Any,
    ) -> results.Inserted:
        """Loads many rows: as `import_rows`, in large messages that are stored as tables beside the log, then builds
        the index once. What `progress` was told is stored for good: a load that was cut short goes on with the rows
        after it, and running it whole again replaces rows by themselves. Without `build` the server indexes by itself,
        a few seconds after the last row. Rows and index are of the memory that an alias points to at the start."""
        place = {"partition": partition, "fingerprint": fingerprint, "bulk": True}
        memory = self._itself()
        loaded = memory._import(keys, values, ids, first_id, columns, progress, _BULK_BATCH, **place)
        if build:
            memory.build()
        return loaded

    def _own_name(self, timeout: Optional[float] = None) -> str:
        """The name of the memory that this name, perhaps an alias, means now. NotFound: none."""
        request = admin_pb2.GetMemoryRequest(memory=self.name)
        return self._caller.call(self._admin.GetMemory, request, timeout).memory.name

    def _itself(self) -> "Memory":
        """The memory under its own name: what goes as several messages means one memory, wherever an alias swings."""
        return Memory(self._own_name(), self._caller, self._data, self._admin, self._states, self._fingerprint)

    def _import(
        self,
        keys: ArrayLike,
        values: wire.Values,
        ids: Optional[ArrayLike],
        first_id: int,
        columns: Mapping[str, Any],
        progress: Optional[Callable[[int, int], None]],
        batch: tuple[int, int],
        **place: Any,
    ) -> results.Inserted:
        rows = np.atleast_2d(np.asarray(keys))
        total = len(rows)
        if len(values) != total:
            raise ValueError(f"{total} keys and {len(values)} values")
        given = np.arange(first_id, first_id + total, dtype=np.uint64) if ids is None else np.asarray(ids)
        batch_bytes, batch_rows = batch
        step = max(1, min(batch_rows, batch_bytes // max(1, rows[:1].nbytes)))

        def batches(first: int) -> Iterator[dict[str, Any]]:
            for start in range(first, total, step):
                cut = slice(start, min(start + step, total))
                part = {name: column if np.ndim(column) == 0 else column[cut] for name, column in columns.items()}
                yield {"keys": rows[cut], "values": values[cut], "ids": given[cut], **part}

        inserted, replaced, version = 0, 0, b""
        paused = 0.0  # since the last progress
        while True:
            try:
                for ack in self.insert_stream(batches(inserted), **place):
                    inserted, replaced, version = inserted + ack.inserted, replaced + ack.replaced, ack.version
                    paused = 0.0
                    if progress:
                        progress(inserted, total)
                break
            except errors.ResourceExhausted as error:  # written faster than it is indexed: go on when there is room
                if error.retry_after is None or paused > _MAX_PAUSE:
                    raise
                pause = max(0.1, error.retry_after)
                paused += pause
                time.sleep(pause)
        return results.Inserted(inserted, replaced, np.empty(0, "<u8"), version, place.get("durability", "sync"))

    def remember(
        self,
        queries: ArrayLike,
        labels: Optional[ArrayLike] = None,
        *,
        choose_k: int = 256,
        alpha: float = 0.1,
        age_noise: float = 8.0,
        seed: int = 0,
        learn: bool = True,
        mask: bool = False,
        partition: int = 0,
        request_id: Optional[str] = None,
        durability: str = "sync",
        timeout: Optional[float] = None,
    ) -> results.Remembered:
        """The learned write of rare events (Kaiser et al. 2017), each query in turn, all of it or nothing: merged into
        the nearest slot when that has its label, else put in the place of the oldest. At most 1,024 queries a call,
        which is one tick. Without labels, or with learn=False, the slots only answer.

        The memory has a capacity of slots and metric "cosine"; its entries are the slots: label, position = last used.
        """
        request = memory_pb2.RememberRequest(
            memory=self.name,
            partition=partition,
            queries=wire.vectors(queries, "queries"),
            labels=wire.column(labels, "<i8", "labels"),
            choose_k=choose_k,
            alpha=alpha,
            age_noise=age_noise,
            seed=seed,
            learn=learn,
            with_mask=mask,
            request_id=request_id or calls.new_request_id(),
            durability=wire.choice("durability", durability, wire.DURABILITIES),
            fingerprint=wire.fingerprint(self._fingerprint),
        )
        return results.read_remembered(self._caller.call(self._data.Remember, request, timeout))

    def delete(
        self,
        *,
        ids: Optional[ArrayLike] = None,
        sources: Optional[ArrayLike] = None,
        labels: Optional[ArrayLike] = None,
        filter: Optional[wire.Filter] = None,
        everything: bool = False,
        partitions: Partitions = None,
        dry_run: bool = False,
        request_id: Optional[str] = None,
        durability: str = "sync",
        timeout: Optional[float] = None,
    ) -> results.Deleted:
        """Deletes by ids, by what matches (sources, labels or a Filter), or everything in the partitions named.

        Deleted entries never appear after this returns. With dry_run it only counts.
        """
        request = memory_pb2.DeleteRequest(
            memory=self.name,
            partitions=wire.partition_selection(partitions),
            dry_run=dry_run,
            request_id=request_id or calls.new_request_id(),
            durability=wire.choice("durability", durability, wire.DURABILITIES),
        )
        by_filter = filter
        if filter is None and (labels is not None or sources is not None):
            by_filter = wire.Filter(labels=labels, sources=sources)
        if (ids is not None) + (by_filter is not None) + everything != 1:
            raise ValueError("delete() takes one of: ids; sources, labels or filter; everything=True")
        if ids is not None:
            request.ids = wire.column(ids, "<u8", "ids")
        elif by_filter is not None:
            request.filter.CopyFrom(wire.filter_message(by_filter))
        else:
            request.everything = True
        got = self._caller.call(self._data.Delete, request, timeout)
        did = got.receipt
        return results.Deleted(did.deleted, did.absent, did.deleted_at_ms, did.dry_run, got.version, did.id)

    def receipt(
        self,
        receipt: str,
        *,
        partitions: Partitions = None,
        wait: Optional[str] = None,
        within: float = 60.0,
        timeout: Optional[float] = None,
    ) -> results.Receipt:
        """What has become of the bytes of a deletion, by its `Deleted.receipt` and the partitions that it named.

        wait: a state ("hidden", "index", "rocksdb", "snapshots") to wait for, at most `within` seconds, asking now and
        then: TimeoutError. How long the server takes is what --erase-after says, and the work.
        """
        if wait is not None and wait not in results.ERASURE_STATES:
            raise ValueError(f"wait is {wait!r}; must be one of {', '.join(results.ERASURE_STATES)}")
        selection = wire.partition_selection(partitions)
        request = receipts_pb2.GetReceiptRequest(memory=self.name, partitions=selection, receipt=receipt)
        end = time.monotonic() + within
        while True:
            got = results.read_receipt(self._caller.call(self._data.GetReceipt, request, timeout).receipt)
            if wait is None or got.reached(wait):
                return got
            if time.monotonic() >= end:
                raise TimeoutError(f"the deletion is in state {got.state!r} after {within} s, not yet in {wait!r}")
            time.sleep(0.25)

    def receipts(self) -> list[results.Receipt]:
        """Those that the server keeps of this memory, those of each shard by age."""
        found: list[results.Receipt] = []
        request = receipts_pb2.ListReceiptsRequest(memory=self.name)
        while True:
            page = self._caller.call(self._data.ListReceipts, request)
            found += map(results.read_receipt, page.receipts)
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    # --- read ---

    def get(
        self,
        ids: ArrayLike,
        *,
        partition: int = 0,
        with_keys: bool = False,
        allow_missing: bool = False,
        version: bytes = b"",
        timeout: Optional[float] = None,
    ) -> wire.Entries:
        """Entries in the order asked for. NotFound when one is not there, unless allow_missing leaves it out."""
        request = memory_pb2.GetRequest(
            memory=self.name,
            partition=partition,
            ids=wire.column(ids, "<u8", "ids"),
            with_keys=with_keys,
            allow_missing=allow_missing,
            at_least_version=version,
        )
        return wire.read_entries(self._caller.call(self._data.Get, request, timeout).entries)

    def scan(
        self,
        *,
        filter: Optional[wire.Filter] = None,
        partitions: Partitions = None,
        with_keys: bool = False,
        page_size: int = 0,
        version: bytes = b"",
        timeout: Optional[float] = None,
    ) -> Iterator[wire.Entries]:
        """All entries that match, in stored order, page by page."""
        request = memory_pb2.ScanRequest(
            memory=self.name,
            partitions=wire.partition_selection(partitions),
            filter=wire.filter_message(filter),
            with_keys=with_keys,
            page_size=page_size,
            at_least_version=version,
        )
        try:
            for page in self._data.Scan(request, timeout=timeout):
                yield wire.read_entries(page.entries, page.partitions)
        except errors.grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None

    def lease(
        self,
        seconds: float = 60.0,
        *,
        partitions: Partitions = None,
        version: bytes = b"",
        timeout: Optional[float] = None,
    ) -> leasing.Pinned:
        """The memory as it is now, held for up to `seconds` (600 at most): `with memory.lease(60) as pinned:
        pinned.query(q)`. Until it ends every read of `pinned` sees exactly the entries that are live now, whatever is
        written, deleted, indexed or expires meanwhile. Leaving the block gives it back.

        partitions: what may be read (0 unless named, "all"). version: at least this one. ResourceExhausted: there are
        too many leases, or they would hold too much ram in unsealed entries."""
        source = leasing.Source(self.name, self._caller, self._data, self._fingerprint)
        return leasing.acquire(source, seconds, partitions, version, timeout)

    # --- manage ---

    def describe(self) -> admin_pb2.MemoryDescription:
        """The memory as it was created."""
        return self._caller.call(self._admin.GetMemory, admin_pb2.GetMemoryRequest(memory=self.name)).memory

    def build(
        self,
        retrain: bool = False,
        progress: Optional[Callable[[str, int, int], None]] = None,
        timeout: Optional[float] = None,
        centroids: Optional[ArrayLike] = None,
        subvectors: Optional[ArrayLike] = None,
    ) -> None:
        """Seals the tail and brings the index up to date; returns when it is. `progress(stage, done, total)`.

        With `centroids`, [lists, dimension], all of it is built anew on these instead of trained ones;
        FailedPrecondition when no partition is long enough for an index. `subvectors`, beside them in a memory of
        `pq:M`: those of its product quantiser, [M * 256, dimension / M], column by column (`pq:Mx4`: M * 16).
        """
        try:
            request = admin_pb2.BuildIndexRequest(memory=self.name, retrain=retrain)
            if centroids is not None:
                wire.vectors(centroids, "centroids", request.centroids)
            if subvectors is not None:
                wire.vectors(subvectors, "subvectors", request.subvectors)
            for step in self._admin.BuildIndex(request, timeout=timeout):
                if progress:
                    progress(step.stage, step.rows_done, step.rows_total)
        except errors.grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None

    def export_index(
        self,
        path: "os.PathLike[str] | str",
        *,
        partition: int = 0,
        version: bytes = b"",
        progress: Optional[Callable[[int, int], None]] = None,
        timeout: Optional[float] = None,
    ) -> exporting.ExportedIndex:
        """Writes the index of a partition as an IVFFlat index, which `faiss.read_index(path)` opens: its centroids, and
        each live entry's id and key in its list, of one version of each shard, at least `version`. Returns rows, lists
        and the version. `progress(rows, total)`. FailedPrecondition: it has no index yet, so `build()` first."""
        request = admin_pb2.ExportIndexRequest(memory=self.name, partition=partition, at_least_version=version)
        try:
            return exporting.write(self._admin.ExportIndex(request, timeout=timeout), path, progress)
        except errors.grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None

    def statistics(self) -> admin_pb2.GetStatisticsResponse:
        """Entries, tail, segments, bytes, colour and the benefit counted."""
        return self._caller.call(self._admin.GetStatistics, admin_pb2.GetStatisticsRequest(memory=self.name))

    def prune(
        self,
        neighbours: int = 9,
        guard: Optional[requests.PruneGuard] = None,
        dry_run: bool = False,
        partition: int = 0,
        search: Optional[requests.Search] = None,
        progress: Optional[Callable[[str, int, int], None]] = None,
        timeout: Optional[float] = None,
    ) -> admin_pb2.PruneMemoryResponse:
        """Merges entries into a near neighbour of the same value, label and expiry, whose weight grows by theirs.

        Returns counts, and the perplexities of the guard's queries. FailedPrecondition, and nothing written, when these
        would rise by more than the guard allows. `progress(stage, done, total)`."""
        request = admin_pb2.PruneMemoryRequest(
            memory=self.name,
            neighbours=neighbours,
            search=requests.accuracy(search or requests.Search()),
            guard=None if guard is None else guard.to_message(),
            dry_run=dry_run,
            partition=partition,
        )
        step = admin_pb2.PruneMemoryResponse()
        try:
            for step in self._admin.PruneMemory(request, timeout=timeout):
                if progress:
                    progress(step.stage, step.entries_done, step.entries_total)
        except errors.grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None
        return step

    def probe_recall(
        self,
        k: int = 10,
        keys: Optional[ArrayLike] = None,
        sample: int = 0,
        temperature: float = 1.0,
        search: Optional[requests.Search] = None,
        timeout: Optional[float] = None,
    ) -> admin_pb2.ProbeRecallResponse:
        """Recall of a search against the exact one, on these keys or on a sample of the stored ones; with token values
        also how far ln p of the distributions at this temperature lie apart."""
        request = admin_pb2.ProbeRecallRequest(
            memory=self.name,
            k=k,
            search=requests.accuracy(search or requests.Search()),
            sample=sample,
            keys=None if keys is None else wire.vectors(keys),
            temperature=temperature,
        )
        return self._caller.call(self._admin.ProbeRecall, request, timeout)

    def _batch(
        self,
        keys: ArrayLike,
        values: wire.Values,
        columns: Mapping[str, Any],
        partition: int,
        durability: str,
        fingerprint: Optional[Mapping[str, Any]],
    ) -> memory_pb2.InsertRequest:
        request = memory_pb2.InsertRequest(
            memory=self.name,
            partition=partition,
            durability=wire.choice("durability", durability, wire.DURABILITIES),
            fingerprint=wire.fingerprint(self._fingerprint if fingerprint is None else fingerprint),
        )
        wire.entries(keys, values, columns, into=request.entries)
        return request


def _check_batch(batch: Any) -> None:
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"a batch of insert_stream is a {type(batch).__name__}; must be a mapping of arguments of insert, like "
            '{"keys": keys, "values": tokens}'
        )
    if "keys" not in batch or not ("values" in batch or "tokens" in batch):
        given = ", ".join(map(str, batch)) or "nothing"
        raise TypeError(f"a batch of insert_stream has {given}; needs keys and values")
