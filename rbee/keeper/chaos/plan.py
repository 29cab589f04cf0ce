"""What a scenario is: a fleet, a load, what happens to it, and what must be true then. Data only.

The scenarios themselves are in `scenarios`; what the names of acts and checks mean is in `acts` and
`checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Way = Literal["rounds", "steady", "own"]
"""`rounds`: some streams, one act among them, until all have ended; and again. `steady`: streams
without end while acts follow one another. `own`: as the one event with numbers itself goes."""
Act = Literal[
    "kill-worker",
    "stop-worker",
    "drain-worker",
    "drain-hive",
    "poison",
    "kill-queen",
    "lose-queen",
    "kill-hive",
    "lose-hive",
    "replace-hives",
    "replace-queen",
]
"""What is done in the middle of an answer, and has no numbers."""
Phase = Literal["queued", "loading", "in the prompt", "decoding", "paused"]
How = Literal["by name", "by closing"]
"""`DELETE` of the job, or the end of the connection."""
Check = Literal["finished", "same", "moved", "stayed", "quick", "refused", "flat", "hit", "welcome"]
Door = Literal["sdk", "blocking", "chat", "completions"]
"""How a client asks: the SDK (awaiting or not), or OpenAI's dialect over plain HTTP."""


@dataclass(frozen=True)
class Flood:
    """For `peak_s` as many clients as there are slots ask one request after the other; then come,
    for `flood_s`, `times` as many requests a second as were answered so."""

    times: float
    peak_s: float
    flood_s: float
    tokens: int
    """Of an answer: some seconds, as a model's are."""


@dataclass(frozen=True)
class StopReading:
    """Readers take the beginning of a large answer, and nothing more."""

    taken_bytes: int
    paused_within_s: float
    beside_s: float
    """How long streams follow each other beside them; the queen remembers what ended last."""
    not_before_s: float
    cut_within_s: float
    """After its last byte: 60 s without any progress are seen by a look every 5 s, the first of
    which only sees that bytes have arrived."""


@dataclass(frozen=True)
class Cancel:
    """A request is taken back in each of these phases, each time in the next of these manners."""

    phases: tuple[Phase, ...]
    hows: tuple[How, ...]
    free_within_s: float
    """An engine step takes some milliseconds here; the rest is for looking, and for a busy
    machine."""


Event = Act | Flood | StopReading | Cancel


@dataclass(frozen=True)
class Shape:
    """A throw-away fleet: queens, hives that report to all of them, a worker on each hive."""

    queens: int = 1
    hives: tuple[str, ...] = ("a", "b")
    slots: int = 4
    queue_limit: int = 256


@dataclass(frozen=True)
class Load:
    """`width` streams at a time, of the requests that came in by one of `doors`."""

    width: int = 4
    doors: tuple[Door, ...] = ("sdk", "chat", "completions")
    patience_s: float = 0.0
    """How long a client asks again that was turned away before anything had begun: nobody there, or
    not now (429, 503). 0: that is a failure."""
    apart_s: float = 3.0
    """Where it is `steady`: it lasts so long before the first act, between them, and after the
    last."""


@dataclass(frozen=True)
class Scenario:
    """One line of the table."""

    name: str
    what: str
    n: int
    """How often it happens, unless told otherwise."""
    events: tuple[Event, ...]
    checks: tuple[Check, ...] = ("finished", "same")
    way: Way = "rounds"
    load: Load = Load()
    shape: Shape = Shape()
    alone: str = ""
    """Why it is only done to a throw-away fleet; empty: a person's own may have it as well."""


@dataclass(frozen=True)
class Turn:
    """One round, as drawn from the seed."""

    asks: tuple[str, ...]
    """The names of the requests, one a stream."""
    victim: int
    """The stream that the act waits for and aims at."""
    share: float
    """How much of its answer the victim shall have heard by then."""
    salt: int
    """A number of this round's own; every second one is odd."""


@dataclass(frozen=True)
class Reference:
    """What a request answers when nothing happens."""

    texts: tuple[str, ...]
    """One for each choice."""
    pieces: int
    """Parts in which the text came."""
    tokens: tuple[int, ...] = ()
    """How many tokens each choice has, where the dialect tells."""
    ends: Mapping[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """By choice: (tokens, characters) said by the end of each piece."""
    scored: int = 0
    """Tokens that came with their log probability."""
