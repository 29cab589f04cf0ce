"""The bounds of every field, as annotated types: each number that may reach C has both ends."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
"""An id of a hive or a worker: it appears in URLs, log lines and arguments."""

ModelRef = Annotated[str, Meta(min_length=1, max_length=512)]
"""What a person calls a model; `rbee.naming` says what forms there are."""

JobId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+\Z")]
Sha256 = Annotated[str, Meta(max_length=64)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Pid = Annotated[int, Meta(ge=1, le=2**31 - 1)]
DeviceName = Annotated[str, Meta(min_length=1, max_length=64)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(ge=0.0, le=86_400.0)]

PromptText = Annotated[str, Meta(max_length=4_000_000)]
ShortText = Annotated[str, Meta(max_length=4_096)]
"""An id or a name that somebody else made up."""
ImageData = Annotated[str, Meta(max_length=32 * 1024 * 1024)]
"""A `data:` URL; the body limit of the server is usually lower."""
PromptIds = Annotated[list[TokenId], Meta(min_length=1, max_length=1_048_576)]

MaxTokens = Annotated[int, Meta(ge=0, le=1_048_576)]
"""0 asks for no token at all: only with `echo`, to have a text scored."""
Temperature = Annotated[float, Meta(ge=0.0, le=5.0)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
TopK = Annotated[int, Meta(ge=0, le=1_048_576)]
RepeatPenalty = Annotated[float, Meta(gt=0.0, le=10.0)]
Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]
PenaltyWindow = Annotated[int, Meta(ge=-1, le=1_048_576)]
"""How many tokens back a penalty looks; -1: all of them, 0: none (the penalty is off)."""
DryMultiplier = Annotated[float, Meta(ge=0.0, le=100.0)]
DryBase = Annotated[float, Meta(ge=1.0, le=100.0)]
DryLength = Annotated[int, Meta(ge=1, le=1_024)]
Breaker = Annotated[str, Meta(min_length=1, max_length=64)]
Breakers = Annotated[list[Breaker], Meta(max_length=32)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
StopText = Annotated[str, Meta(min_length=1, max_length=1_000)]
Stops = Annotated[list[StopText], Meta(max_length=16)]
Bias = Annotated[float, Meta(ge=-100.0, le=100.0)]
BiasKey = Annotated[str, Meta(min_length=1, max_length=10, pattern=r"^[0-9]+\Z")]
LogitBias = Annotated[dict[BiasKey, Bias], Meta(max_length=1_024)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
Salt = Annotated[str, Meta(max_length=256)]
Choices = Annotated[int, Meta(ge=1, le=128)]
Priority = Annotated[int, Meta(ge=-100, le=100)]
MAX_DEADLINE_MS = 86_400_000
DeadlineMs = Annotated[int, Meta(ge=1, le=MAX_DEADLINE_MS)]

ContextTokens = Annotated[int, Meta(ge=64, le=1_048_576)]
Slots = Annotated[int, Meta(ge=1, le=64)]
GpuLayers = Annotated[int, Meta(ge=-1, le=10_000)]
Threads = Annotated[int, Meta(ge=1, le=1_024)]
