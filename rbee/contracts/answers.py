"""Whole answers: what an operation returns when it is not streamed."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from rbee.contracts.chat import ToolCall
from rbee.contracts.events import FinishReason, Logprob, Timings, Usage
from rbee.contracts.fleet import ModelEntry, WorkerProcess

JobState = Literal["running", "done", "failed", "cancelled"]


class Choice(Struct, omit_defaults=True, kw_only=True):
    """One of the `n` answers."""

    index: int
    text: str
    finish_reason: FinishReason
    token_ids: list[int]
    logprobs: list[Logprob] | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning: str = ""
    stop: str | None = None
    """The stop string that ended it, when one did."""


class Prompted(Struct, omit_defaults=True):
    """The prompt of an answer, when `echo` asked for it."""

    text: str
    token_ids: list[int]
    logprobs: list[Logprob] | None = None


class InferAnswer(Struct, kw_only=True):
    """The answer to `infer` with `"stream": false`."""

    job_id: str
    model: str
    sha256: str
    worker_id: str
    choices: list[Choice]
    usage: Usage
    timings: Timings
    prompt: Prompted | None = None
    migrations: int = 0
    """How often another worker had to go on with the answer."""


class Spawned(Struct):
    """The answer to `worker_spawn`: the worker serves."""

    worker_id: str
    pid: int
    port: int
    url: str
    model: str
    device: str


class Deleted(Struct):
    """The answer to `worker_process_delete` and `model_delete`: what is gone."""

    deleted: str


class Drained(Struct):
    """The answer to `hive_drain`: the workers that are gone."""

    hive_id: str
    workers: list[str]


class ModelEntries(Struct):
    """The answer to `model_list`."""

    hive_id: str
    models: list[ModelEntry]


class WorkerProcesses(Struct):
    """The answer to `worker_process_list`."""

    hive_id: str
    workers: list[WorkerProcess]


class JobAccepted(Struct):
    """The 202 of `Prefer: respond-async`."""

    job_id: str
    sse_url: str


class JobView(Struct, kw_only=True):
    """What `GET /v1/jobs/{id}` tells. `events` counts those so far, `result` is the last's."""

    job_id: str
    operation: str
    state: JobState
    age_s: float
    events: int
    readers: int
    error: Problem | None = None
    result: dict[str, Any] | None = None


class JobList(Struct):
    jobs: list[JobView]


class Problem(Struct, omit_defaults=True):
    """An error on the wire, inside `{"error": ...}`: OpenAI's envelope with a few fields more.

    `code` is one of `rbee.errors`, `type` OpenAI's class of it, `param` the JSON path of the fault.
    """

    code: str
    message: str
    type: str = ""
    param: str | None = None
    hint: str = ""
    retry_after_s: float = 0.0


class ProblemReply(Struct):
    error: Problem


class Health(Struct):
    """`GET /health` and `GET /ready`. A server that is heard at all has started."""

    status: Literal["ok", "draining"]
    role: Literal["queen", "hive", "worker"]
    id: str
    version: str
