"""Requests that kill their workers, known by what they ask for: nobody is sent one of these again.

1. A crash makes suspects of all requests that the worker was computing. A suspect is tried again
   where no other suspect is on trial, so that a second crash has one culprit.
2. The culprit is convicted: refused, and so is the same request when it is sent again.
3. Both are forgotten after `KEEP_S`, for the cause may be gone by then (a worker of another build,
   a machine with more memory), and the lists are bounded: the oldest goes first.

Pure: the time is an argument.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec

from rbee.contracts.operations import Infer
from rbee.errors import Poisonous
from rbee.wire import codec

KEEP_S = 600.0
KEEP = 1_024


def fingerprint(asked: Infer | bytes) -> str:
    """What the request asks for, whoever answers it, how fast, in what form, by which chance. What
    is no `Infer` is known by its bytes."""
    return hashlib.sha256(asked if isinstance(asked, bytes) else _essence(asked)).hexdigest()


def _essence(infer: Infer) -> bytes:
    asked = msgspec.structs.replace(
        infer,
        stream=True,
        priority=0,
        deadline_ms=None,
        hive_id=None,
        worker_id=None,
        device=None,
        seed=None,
    )
    return codec.encode(asked)


class Quarantine:
    """The convicted and the suspects. Ask whether it is `empty` first, as it nearly always is, and
    spare yourself the fingerprint."""

    def __init__(self, keep_s: float = KEEP_S, keep: int = KEEP) -> None:
        self._convicts = _Recent(keep_s, keep)
        self._suspects = _Recent(keep_s, keep)

    def __repr__(self) -> str:
        return f"<Quarantine {len(self._convicts)} convicted, {len(self._suspects)} suspected>"

    def empty(self, now: float) -> bool:
        self._convicts.expire(now)
        self._suspects.expire(now)
        return not self._convicts and not self._suspects

    def convict(self, fingerprint: str, now: float) -> None:
        """A second worker crashed, and this request was on trial there."""
        self._convicts.add(fingerprint, now)

    def check(self, fingerprint: str, now: float) -> None:
        """Raises `Poisonous` for a convict."""
        left_s = self._convicts.left_s(fingerprint, now)
        if left_s > 0:
            raise poisonous(left_s)

    def accuse(self, fingerprint: str, now: float) -> None:
        """A worker crashed while it was computing this request, among others perhaps."""
        self._suspects.add(fingerprint, now)

    def suspects(self, fingerprint: str, now: float) -> bool:
        """Whether such a request was accused, and nothing has cleared it: sent anew, it is tried
        like one that lost its worker."""
        return self._suspects.left_s(fingerprint, now) > 0

    def acquit(self, fingerprint: str) -> None:
        """It was on trial and its worker lives: a token came."""
        self._suspects.discard(fingerprint)


def poisonous(left_s: float) -> Poisonous:
    return Poisonous(
        "This request was being computed when a worker crashed, and alone on trial when a second"
        f" one did. It is not tried again for {max(1.0, left_s):.0f} s.",
        hint="ask for something else, or see why they crashed: rbee worker get ID shows the log",
    )


class _Recent:
    """A set whose members are forgotten after a while, and of which only so many are kept."""

    def __init__(self, keep_s: float, keep: int) -> None:
        self._keep_s = keep_s
        self._keep = keep
        self._until: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, name: str, now: float) -> None:
        self.expire(now)
        self._until[name] = now + self._keep_s
        self._until.move_to_end(name)
        while len(self._until) > self._keep:
            self._until.popitem(last=False)

    def left_s(self, name: str, now: float) -> float:
        """How long it is still remembered; 0 when it is not."""
        return max(0.0, self._until.get(name, now) - now)

    def expire(self, now: float) -> None:
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)

    def discard(self, name: str) -> None:
        self._until.pop(name, None)
