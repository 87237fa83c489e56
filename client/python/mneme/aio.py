"""The client for asyncio: every call of `mneme.Client` and `mneme.Memory` as a coroutine.

async with mneme.aio.connect("127.0.0.1:7700") as client:
    wiki = client.memory("wiki")
    p, n = await asyncio.gather(wiki.distribution(q, k=1024), wiki.query(q, k=8))

Calls run on threads of the client's own, which wait in gRPC without holding the interpreter; at most `workers` at once.
Cancelling an awaiting task leaves the call to end by itself, within its timeout; a lease that it takes is given back.

Not here: `Memory.session` (`apply` reads and writes the states of any session; to fork, export or load one takes a
`mneme.Session`). A client that is closed while a lease is being taken gives nothing back: it ends by its time.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
from typing import Any, AsyncIterator, Callable, Iterator, Optional, TypeVar, Union

from . import client as _client
from . import decode as _decode
from . import leasing as _leasing
from . import memory as _memory
from . import mixture as _mixture
from . import security as _security

_T = TypeVar("_T")
_END = object()


class _Threads:
    def __init__(self, workers: int) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="mneme-aio")

    async def run(self, function: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, functools.partial(function, *arguments, **options))

    def start(self, function: Callable[..., _T], *arguments: Any) -> "concurrent.futures.Future[_T]":
        """As `run`, and goes on when nobody awaits it any more."""
        return self._pool.submit(function, *arguments)

    def close(self) -> None:
        self._pool.shutdown(wait=False)


async def _each(threads: _Threads, make: Callable[[], Iterator[_T]]) -> AsyncIterator[_T]:
    iterator = await threads.run(lambda: iter(make()))
    while (item := await threads.run(next, iterator, _END)) is not _END:
        yield item  # type: ignore[misc]


def _inner(given: Any) -> Any:
    """An argument as the calls of `mneme.Client` take it: the memory (pinned or not) of one that is awaited."""
    return given._memory if isinstance(given, AsyncMemory) else given


# Methods that give their answers one by one: `async for` instead of `await`.
_ITERATORS = {"insert_stream", "scan", "sessions"}
# Methods that ask the server nothing.
_PLAIN = {"session"}


class AsyncDecodeStream:
    """A `mneme.DecodeStream` whose `step`, `learn` and `wait` are awaited: `async with m.decode_stream(k=8) as stream`.

    A thread of its own does them one after the other: what is asked after a step that has begun and is no longer
    awaited comes after it, and the end of the block waits for it, at most for as long as a step may take.
    """

    def __init__(self, stream: _decode.DecodeStream) -> None:
        self._stream, self._thread = stream, _Threads(1)

    def __repr__(self) -> str:
        return f"Async{self._stream!r}"

    async def __aenter__(self) -> "AsyncDecodeStream":
        return self

    async def __aexit__(self, *what: Any) -> None:
        try:
            await self._thread.run(self._stream.__exit__, *what)
        finally:
            self._thread.close()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        if name.startswith("_"):
            raise AttributeError(f"AsyncDecodeStream has no {name!r}")
        return functools.partial(self._thread.run, found) if callable(found) else found


class AsyncMemory:
    """A `mneme.Memory` whose methods are awaited; `insert_stream`, `scan` and `sessions` are async iterators."""

    def __init__(self, memory: Union[_memory.Memory, _leasing.Pinned], threads: _Threads) -> None:
        self._memory: Any = memory
        self._threads = threads

    def __repr__(self) -> str:
        return f"AsyncMemory({self._memory.name!r})"

    @property
    def name(self) -> str:
        return self._memory.name

    def lease(self, seconds: float = 60.0, **options: Any) -> "AsyncLease":
        """See Memory.lease: `async with memory.lease(60) as pinned: await pinned.query(q)`."""
        return AsyncLease(self._threads, lambda: self._memory.lease(seconds, **options))

    def decode_stream(self, *arguments: Any, **options: Any) -> AsyncDecodeStream:
        """See Memory.decode_stream; asks the server nothing."""
        return AsyncDecodeStream(self._memory.decode_stream(*arguments, **options))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._memory, name)
        if name.startswith("_") or name in _PLAIN or not callable(method):
            raise AttributeError(f"AsyncMemory has no {name!r}; use mneme.Memory for it")

        @functools.wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            arguments = tuple(map(_inner, arguments))
            options = {name: _inner(each) for name, each in options.items()}
            if name in _ITERATORS:
                return _each(self._threads, lambda: method(*arguments, **options))
            return self._threads.run(method, *arguments, **options)

        return call


class AsyncPinned(AsyncMemory):
    """A `mneme.Pinned` whose methods are awaited."""

    @property
    def version(self) -> bytes:
        return self._memory.version

    @property
    def expires_ms(self) -> int:
        return self._memory.expires_ms


class AsyncLease:
    """A lease that is taken when its block is entered, and given back when it is left or the entering is cancelled."""

    def __init__(self, threads: _Threads, take: Callable[[], _leasing.Pinned]) -> None:
        self._threads, self._take = threads, take

    async def __aenter__(self) -> AsyncPinned:
        taking = self._threads.start(self._take)
        try:
            self._pinned = await asyncio.wrap_future(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._give_back)
            raise
        return AsyncPinned(self._pinned, self._threads)

    async def __aexit__(self, *what: Any) -> None:
        await asyncio.shield(asyncio.wrap_future(self._threads.start(self._pinned.__exit__, *what)))

    def _give_back(self, taken: "concurrent.futures.Future[_leasing.Pinned]") -> None:
        """What was taken for nobody, if it was; on a thread, for this may run in the event loop."""
        if not taken.cancelled() and taken.exception() is None:
            with contextlib.suppress(RuntimeError):  # the client is closed: the lease ends by itself
                self._threads.start(taken.result().__exit__, None, None, None)


class AsyncMixture:
    """A `mneme.Mixture` whose methods are awaited."""

    def __init__(self, mixture: _mixture.Mixture, threads: _Threads) -> None:
        self._mixture, self._threads = mixture, threads

    def __repr__(self) -> str:
        return f"Async{self._mixture!r}"

    async def distribution(self, keys: Any, *arguments: Any, **options: Any) -> Any:
        """See Memory.distribution."""
        return await self._threads.run(self._mixture.distribution, keys, *arguments, **options)

    async def attention(self, keys: Any, *arguments: Any, **options: Any) -> Any:
        """See Memory.attention."""
        return await self._threads.run(self._mixture.attention, keys, *arguments, **options)

    def decode_stream(self, *arguments: Any, **options: Any) -> AsyncDecodeStream:
        """See Memory.decode_stream; asks the server nothing."""
        return AsyncDecodeStream(self._mixture.decode_stream(*arguments, **options))


def _source(given: Any) -> Any:
    """What Client.mix takes, of what may name an AsyncMemory."""
    source = given if isinstance(given, _mixture.Source) else _mixture.Source(*given)
    return dataclasses.replace(source, memory=_inner(source.memory))


class AsyncClient:
    """A `mneme.Client` whose methods are awaited. Close it, or use it in `async with`."""

    def __init__(self, inner: _client.Client, workers: int) -> None:
        self._client, self._threads = inner, _Threads(workers)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in flight fail."""
        self._client.close()
        self._threads.close()

    def memory(self, name: str, **options: Any) -> AsyncMemory:
        """A handle; asks the server nothing."""
        return AsyncMemory(self._client.memory(name, **options), self._threads)

    def mix(self, sources: Any, *, append: Union[None, AsyncMemory, str] = None, **options: Any) -> AsyncMixture:
        """See Client.mix; asks the server nothing."""
        append = append._memory if isinstance(append, AsyncMemory) else append
        mixture = self._client.mix([_source(each) for each in sources], append=append, **options)
        return AsyncMixture(mixture, self._threads)

    async def create_memory(self, name: str, dim: int, **options: Any) -> AsyncMemory:
        """See Client.create_memory."""
        made = await self._threads.run(self._client.create_memory, name, dim, **options)
        return AsyncMemory(made, self._threads)

    async def drop_memory(self, name: str) -> None:
        """See Client.drop_memory."""
        await self._threads.run(self._client.drop_memory, name)

    async def set_alias(self, alias: str, memory: str, *, expected: Optional[str] = None) -> Optional[str]:
        """See Client.set_alias."""
        return await self._threads.run(self._client.set_alias, alias, memory, expected=expected)

    async def drop_alias(self, alias: str) -> None:
        """See Client.drop_alias."""
        await self._threads.run(self._client.drop_alias, alias)

    async def aliases(self) -> dict[str, str]:
        """See Client.aliases."""
        return await self._threads.run(self._client.aliases)

    async def replace(self, alias: str, keys: Any, values: Any, **options: Any) -> AsyncMemory:
        """See Client.replace."""
        made = await self._threads.run(self._client.replace, alias, keys, values, **options)
        return AsyncMemory(made, self._threads)

    async def create_like(self, name: str, like: str) -> AsyncMemory:
        """See Client.create_like."""
        return AsyncMemory(await self._threads.run(self._client.create_like, name, like), self._threads)

    async def statistics(self) -> Any:
        """See Client.statistics."""
        return await self._threads.run(self._client.statistics)

    async def memories(self) -> list[Any]:
        """See Client.memories."""
        return await self._threads.run(self._client.memories)

    async def ping(self) -> float:
        """Seconds that an empty call takes."""
        return await self._threads.run(self._client.ping)


def connect(
    address: str,
    *,
    workers: int = 32,
    timeout: float = 60.0,
    attempts: int = 5,
    security: Optional[_security.Security] = None,
) -> AsyncClient:
    """As mneme.connect; at most `workers` calls at once."""
    return AsyncClient(_client.connect(address, timeout=timeout, attempts=attempts, security=security), workers)
