"""One choice of one request on its way through the engine. Plain data; the planner moves it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from rbee.worker.engine.span import ImageSpan, extra


@dataclass(eq=False)
class Sequence:
    """What is to be computed for one choice, and how far that is."""

    request: str
    choice: int
    prompt: Items[int]
    limit: int
    """New tokens at most."""
    priority: int = 0
    namespace: str = ""
    """Only sequences of the same namespace share what has been computed."""
    adapter: str = ""
    """The LoRA adapter that its batches run under; empty: none."""
    alone: bool = False
    """Computed by itself from an empty slot, so that nothing beside it can change a bit of it."""
    images: Mapping[int, ImageSpan] = field(default_factory=dict)
    """Pictures, by the place in the prompt where each begins; each is computed whole."""
    scored: bool = False
    """Every token of the prompt gets a row of logits."""
    answer: list[int] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    """Tokens that may come next; wrong ones cost time and change nothing."""
    computed: int = 0
    """Tokens of prompt and answer that are in the slot's memory."""
    cached: int = 0
    """Tokens of the prompt that had been computed for somebody else before."""
    slot: int = -1
    """-1 while waiting and when gone."""
    arrival: int = 0
    leader: Sequence | None = None
    """Who is computing the first `shares` tokens at this moment; they are copied when done."""
    shares: int = 0

    def __repr__(self) -> str:
        return (
            f"<Sequence {self.request}/{self.choice} slot {self.slot}"
            f" {self.computed} of {len(self.prompt)}+{len(self.answer)}>"
        )

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.answer)

    @property
    def pending(self) -> int:
        """Tokens known but not yet computed."""
        return self.length - self.computed

    @property
    def decoding(self) -> bool:
        """Everything but the newest token is computed."""
        return self.pending == 1 and self.leader is None

    @property
    def cached_tokens(self) -> int:
        """`cached`, in what a prompt is billed by: a picture may be more tokens than places."""
        return self.cached + extra(self.images, self.cached)

    @property
    def text_ahead(self) -> int:
        """Tokens before the next picture."""
        return (
            min((at for at in self.images if at > self.computed), default=self.length)
            - self.computed
        )

    @property
    def known(self) -> list[int]:
        return [*self.prompt, *self.answer]

    def tokens(self, count: int) -> list[int]:
        """The next `count` tokens to compute."""
        start, cut = self.computed, len(self.prompt)
        if start >= cut:
            return self.answer[start - cut : start - cut + count]
        found = list(self.prompt[start : start + count])
        return found + self.answer[: count - len(found)]
