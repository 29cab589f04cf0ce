"""Workers that outlived an earlier life of this hive: found among all processes, and recognised.

1. A worker is ours when its command line says so (this hive's id and address, the same queens) and
   it runs as our user. A heartbeat is not believed: it only names a process to look at. So no
   forged one can have a hive own, and later signal, somebody else's process.
2. One that does not listen yet was loading when its hive died: it ends by itself.
3. Looking at all processes takes a moment: everything here blocks, and belongs into a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

from rbee.hive.launch import Owner, Wish
from rbee.hive.recall import called
from rbee.wire.server import address


@dataclass(frozen=True)
class Orphan:
    """A worker that serves, and was ours."""

    wish: Wish
    url: str
    process: psutil.Process


class Orphans:
    """Knows whom to look for. `host` is where others reach this machine."""

    def __init__(self, owner: Owner, queen: str, host: str, id_of: Callable[[str], str]) -> None:
        self._owner = owner
        self._queen = queen
        self._host = host
        self._id_of = id_of

    def __repr__(self) -> str:
        return f"<Orphans of {self._owner.id} at {self._owner.url}>"

    def all(self) -> list[Orphan]:
        """Everyone that is there now."""
        return list(self._those(psutil.process_iter()))

    def one(self, pid: int) -> Orphan | None:
        """The process `pid`, if it is one of them."""
        try:
            return next(self._those(iter([psutil.Process(pid)])), None)
        except psutil.Error:
            return None

    def _those(self, processes: Iterator[psutil.Process]) -> Iterator[Orphan]:
        for process in processes:
            try:
                found = self._recognised(process)
            except psutil.Error:
                continue  # it ended while we looked, or is not ours to look at
            if found is not None:
                yield found

    def _recognised(self, process: psutil.Process) -> Orphan | None:
        if hasattr(os, "getuid") and process.uids().real != os.getuid():
            return None
        found = called(process.cmdline(), self._id_of)
        if found is None or (found.owner, found.queen) != (self._owner, self._queen):
            return None
        port = _port(process)
        return Orphan(found.wish, address(self._host, port), process) if port else None


def _port(process: psutil.Process) -> int:
    """Where it listens; 0: nowhere."""
    found = process.net_connections("tcp")
    ports = [c.laddr.port for c in found if c.status == psutil.CONN_LISTEN]
    return ports[0] if ports else 0
