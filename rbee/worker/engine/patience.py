"""How long a piece of work may take before it counts as wedged, from how long others took. Pure.

1. What a step costs grows with its tokens and with how far they look back, and with how often the
   weights are read for them (`passes`), and never faster than these: tokens are cheaper together
   than one by one. So every step that was seen is a bound for every other.
2. Steps of one kind (the numbers' binary digits) are alike: the worst recent one of its own kind
   bounds a step; one of a kind never seen is bounded by whichever known one says least. Either
   counts `SLACK` times.
3. Memory that is moved with a step comes on top, by its bytes.
4. Of what nothing is known, `UNKNOWN_S` is borne. A worker that generates has seen some steps
   before it serves (`warmup`).
"""

from __future__ import annotations

from dataclasses import dataclass

SLACK = 4.0
LEAST_S = 3.0
"""Under this nothing counts as wedged: a busy machine may stop a thread for a while."""
UNKNOWN_S = 60.0
FADES = 0.05
"""How much of what a step took less than the worst one is believed at once."""
NEAR = 256
"""So many tokens are looked back at in any case: llama.cpp rounds up to a multiple of this."""
MOVED_PER_S = 0.8e9
"""Bytes, before any were seen to be: with `SLACK` as slow as a disk to which memory was swapped."""


@dataclass(frozen=True)
class Load:
    """What a step computes: so many tokens; how far the one that looks back farthest looks; in how
    many passes; and bytes of memory that are moved for them."""

    cells: int
    depth: int
    passes: int = 1
    moved: int = 0

    @property
    def kind(self) -> tuple[int, int]:
        return self.cells.bit_length(), ((self.depth + NEAR) // NEAR).bit_length()


@dataclass
class _Seen:
    """The worst step of a kind, or what has faded of it."""

    cells: float
    depth: float
    passes: float
    took_s: float

    def bound_s(self, load: Load) -> float:
        """What this says of another step."""
        more = max(1.0, load.cells / self.cells)
        farther = max(1.0, (load.depth + NEAR) / (self.depth + NEAR))
        return self.took_s * max(more * farther, load.passes / self.passes)

    def blend(self, load: Load, took_s: float) -> None:
        share = 1.0 if took_s > self.took_s else FADES
        self.cells += share * (load.cells - self.cells)
        self.depth += share * (load.depth - self.depth)
        self.passes += share * (load.passes - self.passes)
        self.took_s += share * (took_s - self.took_s)


class Patience:
    """The worst recent step of each kind, and how fast memory moves."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], _Seen] = {}
        self._byte_s = 1 / MOVED_PER_S

    def __repr__(self) -> str:
        known = {round(s.cells): round(s.took_s, 4) for s in self._seen.values()}
        return f"<Patience seconds by tokens {known}>"

    def observe(self, load: Load, took_s: float) -> None:
        """A step is done. One that moved memory says how fast that is, no more."""
        if load.moved:
            self._byte_s = min(self._byte_s, took_s / load.moved)
            return
        seen = self._seen.get(load.kind)
        if seen is None:
            self._seen[load.kind] = _Seen(load.cells, load.depth, load.passes, took_s)
        else:
            seen.blend(load, took_s)

    def limit_s(self, load: Load) -> float:
        """How long such a step may take."""
        known = self._seen.get(load.kind)
        candidates = (known,) if known is not None else tuple(self._seen.values())
        least = min((seen.bound_s(load) for seen in candidates), default=UNKNOWN_S / SLACK)
        return max(LEAST_S, SLACK * (least + load.moved * self._byte_s))
