"""How long a piece of work may take before it counts as wedged, from how long others took. Pure.

1. What a step costs follows from how many tokens it computes. Steps of one size (the number's
   binary digits) are alike: the worst recent one counts, `SLACK` times.
2. A size never seen costs no more than a larger one, and no more than that many smaller ones:
   tokens are cheaper together than one by one. The first prompts of a size may have to load
   kernels, too.
3. Of what nothing is known, `UNKNOWN_S` is borne.
"""

from __future__ import annotations

SLACK = 4.0
LEAST_S = 3.0
"""Under this nothing counts as wedged: a busy machine may stop a thread for a while."""
UNKNOWN_S = 60.0
FADES = 0.05
"""How much of what a step took less than the worst one is believed at once."""
_SIZES = 64


class Patience:
    """The worst recent cost of each size of step."""

    def __init__(self) -> None:
        self._worst: list[float | None] = [None] * _SIZES
        """By the number of binary digits of a step's tokens."""

    def __repr__(self) -> str:
        known = {2**n // 2: round(w, 4) for n, w in enumerate(self._worst) if w is not None}
        return f"<Patience seconds by tokens {known}>"

    def observe(self, decoding: int, prompt_cells: int, took_s: float) -> None:
        """A step is done: a token for `decoding` streams, and `prompt_cells` of prompts."""
        size = (decoding + prompt_cells).bit_length()
        worst = self._worst[size]
        if worst is None or took_s > worst:
            self._worst[size] = took_s
        else:
            self._worst[size] = worst + FADES * (took_s - worst)

    def limit_s(self, decoding: int, prompt_cells: int) -> float:
        """How long such a step may take."""
        cells = decoding + prompt_cells
        size = cells.bit_length()
        worst = self._worst[size]
        if worst is not None:
            return max(LEAST_S, SLACK * worst)
        bounds = [SLACK * larger for larger in self._worst[size:] if larger is not None][:1]
        unseen = not bounds and prompt_cells > 0
        for smaller in range(size - 1, 0, -1):
            worst = self._worst[smaller]
            if worst is not None:
                bounds.append(max(SLACK, 2 * cells / 2 ** (smaller - 1)) * worst)
                break
        if not bounds:
            return UNKNOWN_S
        return max(UNKNOWN_S if unseen else LEAST_S, min(bounds))
