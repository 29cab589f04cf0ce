"""One frozen struct per role, read once at the edge: defaults < file < environment < flags.

The file is `{role}.toml` in the configuration folder (or `--config`), the environment
`RBEE_<KEY>` for any key. Unknown keys are errors; `conf/` holds every key at its default.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from rbee.contracts.limits import GpuLayers, Port, Slots
from rbee.errors import Usage

QUEEN_PORT, HIVE_PORT, WORKER_PORT = 7833, 7835, 8080
QUEEN_URL = f"http://127.0.0.1:{QUEEN_PORT}"
HIVE_URL = f"http://127.0.0.1:{HIVE_PORT}"
DEFAULT_CONTEXT = 4_096
OTHER_ENV = frozenset({"RBEE_HOME", "RBEE_QUEEN_URL", "RBEE_HIVE_URL", "RBEE_CONFIG"})

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1_024, le=2**40)]
Duration = Annotated[float, Meta(ge=0.0, le=86_400.0)]
Interval = Annotated[float, Meta(ge=0.05, le=3_600.0)]
Host = Annotated[str, Meta(min_length=1, max_length=255)]
OptionalName = Annotated[str, Meta(max_length=64, pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?\Z")]
Url = Annotated[str, Meta(max_length=2_000, pattern=r"^(https?://[^/\s]+)?\Z")]
Urls = Annotated[
    str,
    Meta(max_length=2_000, pattern=r"^(https?://[^/\s,]+(\s*,\s*https?://[^/\s,]+)*)?\Z"),
]
"""Any number of them, separated by commas."""
OptionalContext = Annotated[int, Meta(ge=0, le=1_048_576)]
OptionalThreads = Annotated[int, Meta(ge=0, le=1_024)]
PoolTokens = Annotated[int, Meta(ge=0, le=64 * 1_048_576)]
GuessedTokens = Annotated[int, Meta(ge=0, le=16)]
BatchTokens = Annotated[int, Meta(ge=32, le=8_192)]
_LISTS = frozenset({"allowed_hosts", "lora"})
"""Keys whose value in the environment is a list, separated by commas."""


class Common(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every role has."""

    bind: Host = "127.0.0.1"
    insecure: bool = False
    """Allow a bind address other than loopback without keys."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names under which clients may address this server (its Host header)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    max_body_bytes: Bytes = 8 * 1024 * 1024


class QueenConfig(Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`rbee serve --role queen`."""

    port: Port = QUEEN_PORT
    beat_s: Interval = 1.0
    """How often hives and workers shall report."""
    beats_missed: Annotated[int, Meta(ge=1, le=100)] = 4
    """After this many silent intervals a hive or worker counts as gone."""
    settle_s: Duration = 3.0
    """A queen just started waits this long for the fleet before she says that nobody is there."""
    queue_limit: Count = 256
    """Requests that may wait; one more is answered 429."""
    wait_limit_s: Duration = 300.0
    """How long a request may wait for a worker."""
    spawn_limit_s: Duration = 3_600.0
    """How long fetching and loading a model for a request may take."""
    jobs_kept: Count = 256
    jobs_kept_s: Duration = 600.0
    orphan_grace_s: Duration = 30.0
    """How long an answer waits for somebody to come back: a worker that can go on with it, the next
    queen, or the reader of a client that says when it leaves. Other clients cancel by closing."""
    drain_s: Duration = 30.0
    """Between the signal to end and the end: for the answers that run."""


class HiveConfig(Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`rbee serve --role hive`."""

    port: Port = HIVE_PORT
    id: OptionalName = ""
    """Empty: the machine's host name."""
    queen: Urls = QUEEN_URL
    """Whom to send heartbeats; several queens are separated by commas."""
    models_dir: str = ""
    """Empty: `models` under rbee's home."""
    worker_port: Annotated[int, Meta(ge=1, le=65_000)] = WORKER_PORT
    """Workers take the first free port from here up."""
    slots: Slots = 4
    """Requests a worker answers at a time, when the asker does not say."""
    context: OptionalContext = 0
    """Tokens for each of them; 0: what the model was trained for, at most 4096."""
    threads: OptionalThreads = 0
    """Threads of a worker; 0: the machine's physical cores."""
    kv_tokens: PoolTokens = 0
    """Tokens of memory that a worker's slots share, at least one context; 0: a full one each."""
    speculate_tokens: GuessedTokens = 0
    """Tokens a worker guesses at most in one step, from what the text said before; 0: none."""
    batch_tokens: BatchTokens = 512
    """Tokens of a worker's steps at most: what is decoded, then chunks of prompts."""
    max_workers: Annotated[int, Meta(ge=1, le=1_000)] = 16
    start_limit_s: Duration = 600.0
    """How long a worker may take to load its model."""
    stop_grace_s: Duration = 5.0
    """How long a worker may take to end, beside its drain; then SIGKILL."""
    drain_s: Duration = 30.0
    """How long workers that shall end go on with the answers that run."""
    hive_grace_s: Duration = 30.0
    """How long workers serve on without this hive; after that they drain and end."""
    backoff_first_s: Interval = 1.0
    """Before a crashed worker is started again; doubled each time."""
    backoff_max_s: Interval = 60.0
    crashes_max: Count = 5
    """Crashes in a row after which a worker is given up."""
    hub_timeout_s: Interval = 10.0
    """How long the model hub may be silent."""
    jobs_kept: Count = 256
    jobs_kept_s: Duration = 600.0


class WorkerConfig(Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`rbee serve --role worker`."""

    port: Port | None = None
    """Left out: the first free port from 8080 up."""
    port_from: Annotated[int, Meta(ge=1, le=65_000)] = WORKER_PORT
    model: str = ""
    """A GGUF file, or the id of a model in rbee's home."""
    model_id: str = ""
    """How the model is called; empty: `model`, or the file's name."""
    sha256: str = ""
    """The file's, when it is known already."""
    id: OptionalName = ""
    hive_id: OptionalName = ""
    hive: Url = ""
    """The hive that started this worker: it is sent heartbeats, too."""
    hive_grace_s: Duration = 30.0
    """How long to serve on when that hive does not answer; after that: drain, and end."""
    queen: Urls = ""
    """Whom to send heartbeats; several queens are separated by commas; empty: nobody."""
    slots: Slots = 4
    context: OptionalContext = 0
    threads: OptionalThreads = 0
    device: str = ""
    """`cpu`, `metal`, `cuda:N`; empty: the best there is."""
    gpu_layers: GpuLayers = -1
    projector: str = ""
    """A GGUF file (`mmproj`) with which the model sees; empty: it reads text alone."""
    lora: Annotated[tuple[str, ...], Meta(max_length=16)] = ()
    """LoRA adapters, each `NAME=FILE`; a request chooses one by its name, or none."""
    kv_tokens: PoolTokens = 0
    """Tokens of memory that all slots share, at least one context; 0: a full one for each slot."""
    speculate_tokens: GuessedTokens = 0
    """Tokens guessed at most in one step, from what the text said before; 0: none."""
    batch_tokens: BatchTokens = 512
    """Tokens of one engine step at most: what is decoded, then chunks of prompts."""
    queue_limit: Count = 256
    """Requests that may wait for a slot; one more is answered 429."""
    drain_s: Duration = 30.0
    """Between the signal to end and the end: for the answers that run."""
    parent: Annotated[int, Meta(ge=0)] = 0
    """The process that must live for this one to live, with a `hive` until it serves; 0: none."""


def context_of(trained: int) -> int:
    """Tokens for one request when nobody says: what the model was trained for, within reason."""
    return min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)


def queens(text: str) -> list[str]:
    """The addresses in a setting `queen`."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


C = TypeVar("C", QueenConfig, HiveConfig, WorkerConfig)
_ROLES: tuple[type[Common], ...] = (QueenConfig, HiveConfig, WorkerConfig)


def load(
    kind: type[C],
    file: Path | None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> C:
    """The role's settings. `file` may be missing; flags that are None were not given.

    Raises `Usage` naming the source, the key and what is wrong with it.
    """
    values = _from_file(kind, file)
    values.update(_from_env(kind, os.environ if env is None else env))
    given = {k: v for k, v in (flags or {}).items() if v is not None}
    values.update({k: (v, f"--{k.replace('_', '-')}") for k, v in given.items()})
    for key, (value, source) in values.items():
        _check(kind, key, value, source)
    return msgspec.convert({k: v for k, (v, _) in values.items()}, kind, strict=False)


Sourced = dict[str, tuple[Any, str]]
"""Key to (value, where it comes from)."""


def _from_file(kind: type[Common], file: Path | None) -> Sourced:
    if file is None or not file.exists():
        return {}
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as exc:
        raise Usage(f"{file} cannot be read: {exc}.") from exc
    for key in found:
        if key not in kind.__struct_fields__:
            raise Usage(f"{file}: there is no setting {key!r}.{_near(key, kind.__struct_fields__)}")
    return {k: (v, f"{file}: {k}") for k, v in found.items()}


def _from_env(kind: type[Common], env: Mapping[str, str]) -> Sourced:
    found: Sourced = {}
    known = {key for role in _ROLES for key in role.__struct_fields__}
    for name, text in env.items():
        if not name.startswith("RBEE_") or name in OTHER_ENV:
            continue
        key = name.removeprefix("RBEE_").lower()
        if key not in known:
            raise Usage(f"{name} is no setting of rbee.{_near(key, known)}")
        if key in kind.__struct_fields__:
            value: Any = text
            if key in _LISTS:
                value = [part.strip() for part in text.split(",") if part.strip()]
            found[key] = (value, name)
    return found


def _near(key: str, known: Any) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _check(kind: type[Common], key: str, value: Any, source: str) -> None:
    try:
        msgspec.convert({key: value}, kind, strict=False)
    except msgspec.ValidationError as exc:
        what = str(exc).partition(" - at ")[0]
        raise Usage(f"{source} is {value!r}: {what[0].lower()}{what[1:]}.") from exc
