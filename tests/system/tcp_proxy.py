"""What lies between two processes of a test, so that it can be cut: a proxy of TCP in a process of its own, with one
listener for each directed pair. `Network` starts it and says what each link does from now on.

tcp_proxy.py: reads commands from its input, one JSON object a line, answers each with a line, and ends with its input.

What a link may do to bytes on their way there ("forth": from who connected) and back, each by itself:

pass    hands them on.
drop    takes none, keeps the connections, and tells neither end of the other's; a new connection is taken by the kernel
        and hears nothing. What was sent meanwhile arrives when the link heals, as what TCP sends again does.
reset   of the whole link: connections are reset, and so is each new one.

`delay` holds bytes back for so many seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import struct
import subprocess
import sys
import threading
from typing import Any, Iterable, Optional

CHUNK = 64 * 1024
WAYS = ("forth", "back")
_AT_ONCE = struct.pack("ii", 1, 0)  # of SO_LINGER: closing resets


@dataclasses.dataclass(frozen=True)
class Conduct:
    """What a link does."""

    forth: str = "pass"
    back: str = "pass"
    reset: bool = False
    delay: float = 0.0

    def __str__(self) -> str:
        if self.reset:
            return "reset"
        dropped = [way for way in WAYS if getattr(self, way) == "drop"]
        if dropped:
            return "dropped" if len(dropped) == 2 else f"{dropped[0]} dropped"
        return f"{1000 * self.delay:.0f} ms late" if self.delay else "passing"


PASSING, DROPPED, RESET = Conduct(), Conduct("drop", "drop"), Conduct(reset=True)
FORTH_DROPPED, BACK_DROPPED = Conduct(forth="drop"), Conduct(back="drop")


class Network:
    """The links between named processes. Each is one that connects, one that is connected to, and a port of that one's;
    who connects is told the link's own port."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, str, int], int] = {}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def address(self, source: str, target: str, port: int) -> str:
        """Where `source` finds the `port` of `target`: the same each time."""
        import cluster

        link = (source, target, port)
        if link not in self._links:
            (own,) = cluster.free_ports(1)
            self._tell({"open": own, "to": port})
            self._links[link] = own
        return f"127.0.0.1:{self._links[link]}"

    def between(self, one: str, other: str) -> list[tuple[str, str, int]]:
        """The links of two processes, whoever connects."""
        return [link for link in self._links if {link[0], link[1]} == {one, other}]

    def pairs(self) -> list[tuple[str, str]]:
        """Who has a link with whom, each pair once."""
        return sorted({(min(link[:2]), max(link[:2])) for link in self._links})

    def set(self, links: Iterable[tuple[str, str, int]], conduct: Conduct) -> None:
        self._tell({"set": [self._links[link] for link in links], "conduct": dataclasses.asdict(conduct)})

    def cut(self, one: str, other: str, conduct: Conduct = DROPPED) -> None:
        """Between two processes, whoever connects. Where a direction is dropped: `forth` is from `one` to `other`."""
        turned = dataclasses.replace(conduct, forth=conduct.back, back=conduct.forth)
        links = self.between(one, other)
        assert links, f"{one} and {other} have nothing to say to each other"
        self.set([link for link in links if link[0] == one], conduct)
        self.set([link for link in links if link[0] == other], turned)

    def heal(self) -> None:
        self.set(list(self._links), PASSING)

    def carried(self, one: str, other: str) -> int:
        """Bytes that went between two processes, both ways."""
        return int(self._ask({"count": [self._links[link] for link in self.between(one, other)]}))

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _tell(self, command: dict[str, Any]) -> None:
        answer = self._ask(command)
        assert answer == "done", f"the proxy answered {answer!r} to {command}"

    def _ask(self, command: dict[str, Any]) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        return self._process.stdout.readline().strip()


class _Link:
    """One listener, and the connections that came to it."""

    def __init__(self, port: int) -> None:
        self.port = port  # of whom it leads to
        self.conduct = PASSING
        self.carried = 0
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    def set(self, conduct: Conduct) -> None:
        self.conduct = conduct
        self._changed.set()
        self._changed = asyncio.Event()
        if conduct.reset:
            for writer in list(self._writers):
                _reset(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        other: Optional[asyncio.StreamWriter] = None
        try:
            if self.conduct.reset:
                return _reset(writer)
            await self._passable("forth")  # a connection that nobody answers
            far, other = await asyncio.open_connection("127.0.0.1", self.port)
            self._writers.add(other)
            carried = [
                asyncio.ensure_future(self._carry("forth", reader, other)),
                asyncio.ensure_future(self._carry("back", far, writer)),
            ]
            try:
                await asyncio.gather(*carried)
            finally:
                for each in carried:
                    each.cancel()
        except OSError:
            _reset(writer)
            if other is not None:
                _reset(other)
        finally:
            for each in (writer, other):
                if each is not None:
                    self._writers.discard(each)
                    each.close()

    async def _carry(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """All bytes of one direction, and its end."""
        loop = asyncio.get_running_loop()
        # None: the connection was reset.
        on_their_way: asyncio.Queue[tuple[float, Optional[bytes]]] = asyncio.Queue(64)

        async def take() -> None:
            chunk: Optional[bytes] = b"-"
            while chunk:
                await self._passable(way)
                try:
                    chunk = await reader.read(CHUNK)
                except OSError:
                    chunk = None
                await on_their_way.put((loop.time() + self.conduct.delay, chunk))

        taking = asyncio.ensure_future(take())
        try:
            while True:
                due, chunk = await on_their_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._passable(way)
                if chunk is None:
                    raise ConnectionResetError
                if not chunk:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(chunk)
                self.carried += len(chunk)
                await writer.drain()
        finally:
            taking.cancel()

    async def _passable(self, way: str) -> None:
        while getattr(self.conduct, way) == "drop":
            await self._changed.wait()


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()


async def _main() -> None:
    loop = asyncio.get_running_loop()
    links: dict[int, _Link] = {}
    commands: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(commands.put_nowait, line)
        loop.call_soon_threadsafe(commands.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    while line := await commands.get():
        command = json.loads(line)
        if "open" in command:
            link = _Link(command["to"])
            await asyncio.start_server(link.serve, "127.0.0.1", command["open"], limit=CHUNK)
            links[command["open"]] = link
        elif "count" in command:
            print(sum(links[own].carried for own in command["count"]), flush=True)
            continue
        else:
            for own in command["set"]:
                links[own].set(Conduct(**command["conduct"]))
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
