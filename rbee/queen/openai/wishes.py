"""What every dialect takes beside its own fields: rbee's own, and those that change nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct

from rbee.contracts.limits import (
    Breakers,
    DeadlineMs,
    DeviceName,
    DryBase,
    DryLength,
    DryMultiplier,
    Fraction,
    LogitBias,
    Name,
    Penalty,
    PenaltyWindow,
    Priority,
    PromptText,
    RepeatPenalty,
    Salt,
    Seed,
    TopK,
)


class Ignored(Struct, kw_only=True, forbid_unknown_fields=True):
    """Accepted and without effect: they concern OpenAI's accounts, caches and storage."""

    IGNORED: ClassVar[tuple[str, ...]] = ()
    """What a request adds to these; `docs/openai.md` lists them all."""

    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    prediction: Any = None
    """A hint for speed alone."""


class Wishes(Ignored, kw_only=True, forbid_unknown_fields=True):
    """Fields of `infer` that mean in every dialect what they mean there."""

    top_k: TopK | None = None
    min_p: Fraction | None = None
    typical_p: Fraction | None = None
    repeat_penalty: RepeatPenalty | None = None
    repeat_last_n: PenaltyWindow | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    dry_multiplier: DryMultiplier | None = None
    dry_base: DryBase | None = None
    dry_allowed_length: DryLength | None = None
    dry_penalty_last_n: PenaltyWindow | None = None
    dry_sequence_breakers: Breakers | None = None
    xtc_probability: Fraction | None = None
    xtc_threshold: Fraction | None = None
    seed: Seed | None = None
    deterministic: bool | None = None
    logit_bias: LogitBias | None = None
    ignore_eos: bool | None = None
    grammar: PromptText | None = None
    regex: PromptText | None = None
    lora: Name | None = None
    cache_salt: Salt | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    hive_id: Name | None = None
    worker_id: Name | None = None
    device: DeviceName | None = None
    priority: Priority | None = None
    deadline_ms: DeadlineMs | None = None


WISHES = tuple(f for f in Wishes.__struct_fields__ if f not in Ignored.__struct_fields__)


def wishes(request: Wishes) -> dict[str, Any]:
    """Those that were given, as fields of `infer`."""
    return {name: value for name in WISHES if (value := getattr(request, name)) is not None}


def thinking(effort: str | None) -> dict[str, Any]:
    """How hard to think, in the words of the templates that know of it; others do not look."""
    if effort is None:
        return {}
    made: dict[str, Any] = {"reasoning_effort": effort}
    return {**made, "enable_thinking": False} if effort == "none" else made


def template_values(request: Wishes, implied: dict[str, Any]) -> dict[str, Any] | None:
    """`chat_template_kwargs`, over what the dialect's own fields imply."""
    return {**implied, **(request.chat_template_kwargs or {})} or None
