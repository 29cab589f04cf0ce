"""How an answer arrives: events tagged by `type`; a stream ends in one `Done` or one `Failed`."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from rbee.contracts.chat import ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
Unit = Literal["bytes", "percent", "steps", "s"]


class Usage(Struct):
    """Tokens read and written; `completion_tokens` sums over all choices."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    """How many of the completion's were spent on reasoning."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Timings(Struct):
    """Milliseconds, as the worker's own clock measured them."""

    queued_ms: float = 0.0
    prompt_ms: float = 0.0
    """From the first prompt chunk to the first token."""
    decode_ms: float = 0.0
    """From the first token to the last."""
    tokens_per_s: float = 0.0


class Logprob(Struct, omit_defaults=True):
    """A token with the natural logarithm of its probability, before any sampling parameter;
    `logprob` is null for the first token of a prompt, which nothing comes before."""

    token_id: int
    text: str
    logprob: float | None = None
    bytes: list[int] = []
    top: list[Logprob] = []


class Event(Struct, tag_field="type", kw_only=True):
    """The base of all events."""


class Queued(Event, tag="queued"):
    """Waiting; `position` counts those ahead, `eta_s` is a guess or null."""

    position: int
    eta_s: float | None = None


class Progress(Event, tag="progress"):
    """Something long moved on; `total` is null while unknown."""

    what: str
    done: int
    total: int | None = None
    unit: Unit = "steps"


class Prompt(Event, tag="prompt", omit_defaults=True):
    """The prompt itself, once for all choices, when `echo` asked for it; before any token."""

    text: str
    token_ids: list[int]
    logprobs: list[Logprob] | None = None


class Token(Event, tag="token", omit_defaults=True):
    """Text that is now certain, with the tokens it came from.

    `index` is how many tokens of this choice were reported before; `token_ids` are the next ones.
    One event may carry several tokens, when text had to wait for the rest of a character or
    for a stop string to be ruled out.
    """

    index: int
    text: str
    token_ids: list[int]
    choice: int = 0
    logprobs: list[Logprob] | None = None
    tool_calls: list[ToolCall] | None = None
    """Calls that are now complete, when tools were offered; their text is not in `text`."""
    reasoning: str = ""
    """What a reasoning model thinks before it answers; it is not in `text`."""
    finish: FinishReason | None = None
    """The choice ends with this event, and why."""
    stop: str | None = None
    """The stop string that ended the choice, when one did."""


class Moved(Event, tag="moved"):
    """The worker that wrote this answer was lost; another one goes on where it stopped. Nothing
    that was said is said again."""

    worker_id: str
    """Who was lost."""
    why: str
    migrations: int
    """How often this answer has moved, this time included."""


class Done(Event, tag="done"):
    """The answer is complete. `finish_reasons` holds one reason for each choice."""

    finish_reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    worker_id: str = ""
    model: str = ""
    sha256: str = ""
    finish_reasons: list[FinishReason] = []
    stops: list[str | None] = []
    """The stop string that ended each choice; null where none did, and empty where nobody knows."""
    result: dict[str, Any] | None = None
    """What the operation answers, for operations other than `infer`."""
    migrations: int = 0
    """How often another worker had to go on with the answer."""


class Failed(Event, tag="failed", omit_defaults=True):
    """The answer ended in an error; `code` is one of `rbee.errors`."""

    code: str
    message: str
    hint: str = ""
    path: str = ""
    retry_after_s: float = 0.0


AnyEvent = Queued | Progress | Prompt | Token | Moved | Done | Failed
