"""What a client may ask of a queen or a hive: one struct an operation, tagged by `operation`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from rbee.contracts.chat import Messages, ToolChoice, Tools
from rbee.contracts.limits import (
    Breakers,
    Choices,
    ContextTokens,
    DeadlineMs,
    DeviceName,
    DryBase,
    DryLength,
    DryMultiplier,
    Fraction,
    GpuLayers,
    LogitBias,
    MaxTokens,
    ModelRef,
    Name,
    Penalty,
    PenaltyWindow,
    Pid,
    Priority,
    PromptIds,
    PromptText,
    RepeatPenalty,
    Salt,
    Seconds,
    Seed,
    Slots,
    Stops,
    Temperature,
    TopK,
    TopLogprobs,
)

Adapters = Annotated[dict[Name, ModelRef], Meta(max_length=16)]
Accelerator = Literal["cpu", "cuda", "metal"]


class Operation(Struct, tag_field="operation", forbid_unknown_fields=True, kw_only=True):
    """The base of all operations."""


class Status(Operation, tag="status"):
    """Ask the queen what she knows of the fleet."""


class Infer(Operation, tag="infer", omit_defaults=True):
    """Generate text. Exactly one of `messages` (a chat, rendered by the model's own template) and
    `prompt` (completed as it stands: text or token ids) must be given.

    A sampling field left out takes the model's recommendation, else the worker's default.
    """

    model: ModelRef
    prompt: PromptText | PromptIds | None = None
    messages: Messages | None = None
    max_tokens: MaxTokens | None = None
    """New tokens at most, for each choice; left out: until the context is full."""
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    top_k: TopK | None = None
    """0 looks at the whole vocabulary."""
    min_p: Fraction | None = None
    typical_p: Fraction | None = None
    """1 looks at all tokens alike."""
    repeat_penalty: RepeatPenalty | None = None
    repeat_last_n: PenaltyWindow | None = None
    """How many tokens back `repeat_penalty` looks; left out: 64."""
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    dry_multiplier: DryMultiplier | None = None
    """Above 0: tokens that would go on with a sequence seen before lose
    `dry_multiplier * dry_base ** (length - dry_allowed_length)` from their logit."""
    dry_base: DryBase | None = None
    dry_allowed_length: DryLength | None = None
    dry_penalty_last_n: PenaltyWindow | None = None
    dry_sequence_breakers: Breakers | None = None
    xtc_probability: Fraction | None = None
    """How often all tokens above `xtc_threshold` but the least likely of them are left out."""
    xtc_threshold: Fraction | None = None
    seed: Seed | None = None
    deterministic: bool = False
    """Run the request alone, from an empty cache: the same seed then gives the same text to the
    last token, whatever else the worker is asked. It waits until the worker is idle."""
    cache_salt: Salt | None = None
    """Requests share computed prefixes only with requests of the same salt."""
    lora: Name | None = None
    """An adapter that the worker was started with."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Values for the model's own template, such as `{"enable_thinking": false}`."""
    suffix: PromptText | None = None
    """What shall come after the completion, for models that can fill in the middle."""
    echo: bool = False
    """Report the prompt too: its text and, with `logprobs`, each of its tokens'."""
    ignore_eos: bool = False
    """Go on until `max_tokens` or a stop string; the model's end tokens are forbidden."""
    stop: Stops | None = None
    """They end the answer wherever they stand, in what is thought as well."""
    logit_bias: LogitBias | None = None
    """Token id (as text, since JSON keys are text) to what is added to its logit."""
    logprobs: TopLogprobs | None = None
    """How many alternatives to report for each token; 0 reports the chosen token alone."""
    n: Choices = 1
    json_schema: dict[str, Any] | bool | None = None
    grammar: PromptText | None = None
    """A GBNF grammar that the output must follow."""
    regex: PromptText | None = None
    """A regular expression (Rust's syntax, anchored at both ends) that the output must match."""
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    """False: the answer ends after its first call."""
    stream: bool = True
    hive_id: Name | None = None
    worker_id: Name | None = None
    device: DeviceName | None = None
    """`cpu`, `cuda`, `metal`, or one device such as `cuda:1`."""
    priority: Priority = 0
    """Higher goes first among the waiting."""
    deadline_ms: DeadlineMs | None = None
    """Milliseconds from arrival until the whole answer must be there."""


class WorkerSpawn(Operation, tag="worker_spawn", omit_defaults=True):
    """Start a worker for a model on this hive; answers when it can serve."""

    model: ModelRef
    hive_id: Name | None = None
    worker: Accelerator | None = None
    """The kind of device; left out: the hive's best."""
    device: DeviceName | None = None
    context: ContextTokens | None = None
    slots: Slots | None = None
    gpu_layers: GpuLayers | None = None
    """-1 puts every layer on the accelerator."""
    projector: ModelRef | None = None
    """The file that lets the model see (`mmproj`), named like a model."""
    lora: Adapters | None = None
    """LoRA adapters by the names that requests shall use, each a file named like a model."""


class WorkerProcessList(Operation, tag="worker_process_list", omit_defaults=True):
    hive_id: Name | None = None


class WorkerProcessGet(Operation, tag="worker_process_get", omit_defaults=True):
    """One process, named by `worker_id` or by `pid`."""

    hive_id: Name | None = None
    worker_id: Name | None = None
    pid: Pid | None = None


class WorkerProcessDelete(Operation, tag="worker_process_delete", omit_defaults=True):
    """Stop a worker and forget it. With `drain` it takes no new request and first finishes what it
    has, for `drain_s` at most; what is not finished then goes on elsewhere."""

    hive_id: Name | None = None
    worker_id: Name | None = None
    pid: Pid | None = None
    drain: bool = False
    drain_s: Seconds | None = None
    """Left out: the hive's own `drain_s`."""


class HiveDrain(Operation, tag="hive_drain", omit_defaults=True):
    """Empty a hive: it starts no worker any more, and those it has are deleted with `drain`; the
    answer comes when the last one is gone. `undo` lets it take work again."""

    hive_id: Name | None = None
    drain_s: Seconds | None = None
    undo: bool = False


class ModelDownload(Operation, tag="model_download", omit_defaults=True):
    model: ModelRef
    hive_id: Name | None = None


class ModelList(Operation, tag="model_list", omit_defaults=True):
    hive_id: Name | None = None


class ModelGet(Operation, tag="model_get", omit_defaults=True):
    """One entry, named by `model` or by `id` (they mean the same)."""

    hive_id: Name | None = None
    model: ModelRef | None = None
    id: ModelRef | None = None


class ModelDelete(Operation, tag="model_delete", omit_defaults=True):
    hive_id: Name | None = None
    model: ModelRef | None = None
    id: ModelRef | None = None


QueenOperation = Status | Infer
HiveOperation = (
    WorkerSpawn
    | WorkerProcessList
    | WorkerProcessGet
    | WorkerProcessDelete
    | HiveDrain
    | ModelDownload
    | ModelList
    | ModelGet
    | ModelDelete
)
AnyOperation = QueenOperation | HiveOperation
