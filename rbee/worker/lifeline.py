"""How a worker hangs on its hive: no orphans, and no answer lost to a hive that is only restarted.

1. Until it serves nobody needs it: it dies with its parent, even when that was killed with -9. On
   Linux the kernel sees to it (`PR_SET_PDEATHSIG`, prctl(2)); elsewhere a thread looks.
2. Once it serves it lives on. A hive that has not acknowledged a heartbeat for `hive_grace_s` is
   gone for good: the worker sends itself SIGTERM, which drains and ends it.
3. A worker that cannot do even that (its event loop hangs, or it was stopped) is ended by the
   kernel's timer, which only acknowledged heartbeats wind up. Nobody handles its signal, SIGALRM; a
   stopped process gets it when it is continued.
4. Its stdout and stderr are the hive's pipes. When she is dead a write fails, and when she is
   stopped it must not wait: what they cannot take is lost.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading

import anyio

from rbee.wire.beats import Beater

log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
WATCH_S = 0.5
LAST_S = 15.0
"""For the end of the process, after its drain."""


class Parent:
    """The process that started this one; 0 stands for none."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._is_free = threading.Event()

    def __repr__(self) -> str:
        return f"<Parent {self._pid}{' let go' if self._is_free.is_set() else ''}>"

    def bind(self) -> None:
        """From now on this process ends when its parent does. Call it first of all."""
        if not self._pid:
            return
        if sys.platform == "linux":
            _set_death_signal(signal.SIGKILL)
        else:
            threading.Thread(target=self._watch, name="parent", daemon=True).start()
        if os.getppid() != self._pid:  # it died before we were listening
            os._exit(1)

    def release(self) -> None:
        """From now on this process outlives its parent, and what it logs to it may be lost. By the
        thread that called `bind`: the kernel keeps the wish with that one."""
        if not self._pid:
            return
        self._is_free.set()
        if sys.platform == "linux":
            _set_death_signal(0)
        for stream in (sys.stdout, sys.stderr):
            os.set_blocking(stream.fileno(), False)

    def _watch(self) -> None:
        while not self._is_free.wait(WATCH_S):
            if os.getppid() != self._pid:
                os._exit(1)


def _set_death_signal(number: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


class Lifeline:
    """Ends this process when its hive is gone for good."""

    def __init__(self, hive: Beater, grace_s: float, drain_s: float) -> None:
        self._hive = hive
        self._grace_s = grace_s
        self._limit_s = grace_s + drain_s + LAST_S

    def __repr__(self) -> str:
        return f"<Lifeline to {self._hive}, {self._grace_s:g} s>"

    async def loop(self) -> None:
        """Watch until the hive is given up; for the server's task group."""
        while not self._is_cut():
            if not self._hive.unheard_s:
                _wind_up(self._limit_s)
            await anyio.sleep(WATCH_S)
        log.warning("the hive did not answer for %g s: draining, then ending", self._grace_s)
        os.kill(os.getpid(), signal.SIGTERM)

    def _is_cut(self) -> bool:
        silence_s = self._hive.unheard_s
        return silence_s > 0 and silence_s >= self._grace_s


def _wind_up(limit_s: float) -> None:
    """End this process in `limit_s`, however it hangs then, unless this is called again."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, limit_s)
