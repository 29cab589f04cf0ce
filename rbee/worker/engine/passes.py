"""In which order a step's chunks stand, so that llama.cpp computes them in few, cheap passes. Pure.

1. It computes neighbouring slots in one pass, and reads all the weights once for each pass. In a
   pass every slot pays for the longest one: attention runs over as many cells for all of them.
2. So neighbours that decode share a pass unless one is so long that another pass costs less; a gap
   between them is filled, with a token that is forgotten again, on the same terms.
3. A prompt is a pass of its own: it brings many tokens, and its length is nobody else's business.
4. Passes stand in descending order of their slots. Ascending ones would be taken for neighbours.

With one pool for all slots nothing of this matters.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass

from rbee.worker.engine.backend import Chunk
from rbee.worker.engine.sequence import Sequence

PASS_CELLS = 4_096
"""What reading the weights once more costs, in cells of attention: between 2,000 (192 M parameters,
Q8_0) and some 10,000 (8 B), as estimated from measured steps."""
_PADDING = 256
"""llama.cpp rounds the cells of a pass up to a multiple of this."""
FILLER = 0
"""The token that fills a gap; it is trimmed away after the step."""
Part = tuple[Sequence | None, Chunk]
"""Whose chunk it is; None for a filler."""


@dataclass
class _Pass:
    """Neighbours, so far."""

    parts: list[Part]
    cells: int
    """Of the longest slot, which all have to pay for."""

    @property
    def last(self) -> int:
        return self.parts[-1][1].slot


def laid_out(
    decoding: list[Part], prompts: list[Part], lengths: Items[int], context: int, *, fills: bool
) -> list[Part]:
    """All parts, and fillers, in their order. `lengths` tells how many tokens each slot's memory
    holds; `fills` whether gaps can be filled at all."""
    taken = {chunk.slot for _, chunk in prompts}
    passes = [_Pass([part], _cells(part[1].start)) for part in prompts]
    current: _Pass | None = None
    for part in sorted(decoding, key=lambda p: p[1].slot):
        cells = _cells(part[1].start)
        if current is not None:
            gap = range(current.last + 1, part[1].slot)
            wide = max([current.cells, cells, *(_cells(lengths[n]) for n in gap)])
            whole = len(current.parts) + len(gap) + 1
            joined = whole * wide - len(current.parts) * current.cells
            free = not gap or (
                fills and not taken.intersection(gap) and all(lengths[n] < context for n in gap)
            )
            if free and joined <= PASS_CELLS + cells:
                fillers: list[Part] = [(None, Chunk(n, lengths[n], [FILLER])) for n in gap]
                current.parts += [*fillers, part]
                current.cells = wide
                continue
        current = _Pass([part], cells)
        passes.append(current)
    passes.sort(key=lambda p: p.last, reverse=True)
    return [part for one in passes for part in one.parts]


def _cells(length: int) -> int:
    return -(-(length + 1) // _PADDING) * _PADDING
