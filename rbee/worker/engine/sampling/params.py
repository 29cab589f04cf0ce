"""What a request may say about how its tokens are chosen. Knows no row and no model."""

from __future__ import annotations

from dataclasses import dataclass, field

COLD = 1e-6
"""A temperature below this is 0: a difference that float32 can hold is then past all odds."""

BREAKERS = ("\n", ":", '"', "*")
"""Where `dry` lets a repetition begin anew, unless the request says otherwise (llama.cpp's)."""


@dataclass(frozen=True)
class Sampling:
    """Every parameter under its name in `Infer`, at its neutral value; the defaults of a model are
    filled in by the service. `bias` is `logit_bias` by token id."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    """How far back `repeat_penalty` looks, prompt included; -1: everything, 0: not at all."""
    presence_penalty: float = 0.0
    """Off the logit of each token of the answer. As in OpenAI's API, and unlike llama.cpp, neither
    this nor `frequency_penalty` looks at the prompt, and no window ends their memory."""
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] | list[str] = BREAKERS
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    seed: int = 0
    bias: dict[int, float] = field(default_factory=dict)

    @property
    def repeats(self) -> bool:
        return self.repeat_penalty != 1.0 and self.repeat_last_n != 0

    @property
    def counts(self) -> bool:
        return bool(self.presence_penalty or self.frequency_penalty)

    @property
    def dries(self) -> bool:
        return self.dry_multiplier > 0.0 and self.dry_penalty_last_n != 0

    @property
    def excludes(self) -> bool:
        """Whether `xtc` can ever leave anything out: two tokens cannot both have over a half."""
        return self.xtc_probability > 0.0 and self.xtc_threshold <= 0.5

    @property
    def sharp(self) -> bool:
        """Whether the best token left is taken, without any choice between several. At temperature
        0 `typical_p` and `xtc` may still leave out the best of all, as they do in llama.cpp."""
        if self.top_k == 1:
            return True
        return self.temperature < COLD and self.typical_p >= 1.0 and not self.excludes

    @property
    def reach(self) -> int:
        """How many tokens back of the prompt and the answer anything here looks; -1: all."""
        looks = [self.repeat_last_n] if self.repeats else []
        looks += [self.dry_penalty_last_n] if self.dries else []
        return -1 if -1 in looks else max(looks, default=0)
