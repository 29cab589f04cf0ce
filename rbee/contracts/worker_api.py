"""What a worker alone is asked: to generate, as a queen asks it; vectors and tokens.

A queen keeps no answer that a worker could not go on with: what she would need when that worker
dies, the worker tells her first (`Begun`), and she hands it to the next one (`Resume`). A queen who
dies herself leaves the answer running; the next queen learns all of it by attaching.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from rbee.contracts.chat import Messages, Tools
from rbee.contracts.events import AnyEvent, FinishReason
from rbee.contracts.limits import JobId, ModelRef, PromptIds, PromptText, Seconds, TokenId
from rbee.contracts.operations import Infer

MAX_RESUME_EVENTS = 16_384
"""As many as a log keeps."""


class Written(Struct, omit_defaults=True):
    """What a choice has said so far: the ids that its token events told."""

    token_ids: Annotated[list[TokenId], Meta(max_length=1_048_576)] = []
    finish: FinishReason | None = None
    """Set when the choice is complete."""
    stop: str | None = None


class Resume(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """An answer that another worker has begun; this one goes on behind it."""

    written: Annotated[list[Written], Meta(min_length=1, max_length=128)]
    """One for each choice."""
    prompt_ids: PromptIds | None = None
    """The prompt as the first worker read it; left out where it holds pictures."""
    first: int = 0
    """The number of the first of `events`."""
    events: Annotated[list[AnyEvent], Meta(max_length=MAX_RESUME_EVENTS)] = []
    """What the answer's readers were given so far, as far as it is kept: the worker's log begins
    with them, so that it is the answer's whole log and its numbers stay true."""
    prompted: bool = False
    """The prompt was echoed already."""
    migrations: int = 0


class Generate(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`POST /v1/answers`: an `infer`, and what only a queen says. `Begun` begins the stream."""

    job_id: JobId
    infer: Infer
    resume: Resume | None = None
    orphan_grace_s: Seconds = 0.0
    """How long the answer goes on without a reader, so that a queen who was restarted, or another
    one, can attach to it. 0: closing the stream cancels it."""
    trial: bool = False
    """A worker may have died of this request. `Begun` is sent before anything is computed, so that
    the queen knows for certain that a worker who dies now had it."""
    tries: int = 1
    """Workers that were asked for this answer, this one included: where several have it, what the
    latest has is what its readers were told."""


class Begun(Struct, tag_field="type", tag="begun", omit_defaults=True, kw_only=True):
    """The first thing a worker tells a queen of an answer; it has no number and no reader of the
    answer gets it."""

    worker_id: str
    sha256: str
    infer: Infer | None = None
    """The request, for a queen who attaches to an answer that she did not ask for."""
    prompt_ids: list[int] | None = None
    """None where it holds pictures."""
    written: list[Written] = []
    """What was said before the first event that follows."""
    first: int = 0
    """The number of the event that follows."""
    migrations: int = 0
    tries: int = 1
    """As `Generate` told."""


WorkerEvent = AnyEvent | Begun
"""What a worker's stream holds."""

EmbedInput = Annotated[list[PromptText | PromptIds], Meta(min_length=1, max_length=2_048)]


class Embed(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/embed`: one vector for each input."""

    model: ModelRef
    input: EmbedInput
    normalise: bool = True


class Vectors(Struct, kw_only=True):
    """Pooled vectors, one a row, in the order of the inputs."""

    model: str
    vectors: list[list[float]]
    prompt_tokens: int


class Rank(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/rank`: how well each document answers the query, by the model's own classifier."""

    model: ModelRef
    query: PromptText
    documents: Annotated[list[PromptText], Meta(min_length=1, max_length=2_048)]


class Ranks(Struct, kw_only=True):
    """One score for each document, in their order; higher is better, the scale is the model's."""

    model: str
    scores: list[float]
    prompt_tokens: int


class ApplyTemplate(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /apply-template`: a chat as the model's template renders it."""

    model: ModelRef = "bee"
    messages: Messages
    tools: Tools | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class Rendered(Struct):
    model: str
    prompt: str


class Tokenize(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /tokenize`: `text`, or `messages` rendered by the model's template first."""

    model: ModelRef = "bee"
    text: PromptText | None = None
    messages: Messages | None = None
    tools: Tools | None = None
    add_special: bool = True
    """Add what the model wants at the start (BOS), when it wants any."""


class Tokens(Struct):
    model: str
    tokens: list[int]
    count: int


class Detokenize(Struct, forbid_unknown_fields=True, kw_only=True):
    """`POST /detokenize`."""

    model: ModelRef = "bee"
    tokens: Annotated[list[TokenId], Meta(max_length=1_048_576)]


class Text(Struct):
    model: str
    text: str
