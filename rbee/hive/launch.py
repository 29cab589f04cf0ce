"""How a worker is called: its arguments, its environment, and what its lines mean. Pure.

What a worker is stands in its arguments alone. It reads no settings file, since `worker.toml` is
for those that a person starts: one port in it would fail every second worker. Its environment is
the hive's with two things taken out: everything that belongs to the model hub (a worker needs no
token and shall not have one), and every setting of a hive or a worker, but for three that the
hive's workers share with it. `RBEE_HOME` stays.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from rbee.config import HiveConfig, WorkerConfig
from rbee.contracts.answers import Problem
from rbee.errors import RbeeError, SpawnFailed, from_code

START = ("-P", "-m", "rbee.main", "serve", "--role", "worker")
_HUB_PREFIXES = ("HF_", "HUGGING", "HUGGINGFACE")
_NOT_FOR_WORKERS = frozenset({"RBEE_CONFIG", "RBEE_QUEEN_URL", "RBEE_HIVE_URL"})
_SETTINGS = frozenset(HiveConfig.__struct_fields__ + WorkerConfig.__struct_fields__)


@dataclass(frozen=True)
class Part:
    """An adapter or a projector."""

    id: str
    file: str


@dataclass(frozen=True)
class Wish:
    """Everything that decides what a worker is; the same for each of its lives."""

    worker_id: str
    model_id: str
    model_file: str
    sha256: str
    device: str
    slots: int
    context: int = 0
    threads: int = 0
    gpu_layers: int = -1
    projector: Part | None = None
    lora: Mapping[str, Part] = field(default_factory=dict)
    """By the names that requests use."""

    @property
    def ids(self) -> list[str]:
        """Every file that the worker needs, by its id."""
        parts = [self.projector] if self.projector else []
        return list(dict.fromkeys([self.model_id, *(p.id for p in (*parts, *self.lora.values()))]))


@dataclass(frozen=True)
class Owner:
    """The hive that a worker belongs to, as its processes call it."""

    id: str
    url: str
    """Where its workers reach it: an address of this machine."""


@dataclass(frozen=True)
class Command:
    """How a process is called."""

    argv: Sequence[str]
    env: dict[str, str]


def arguments(wish: Wish, config: HiveConfig, owner: Owner, parent: int) -> list[str]:
    """The argument list of a worker; `recall.called` reads it back."""
    argv = [sys.executable, *START, "--config", os.devnull]
    argv += ["--model", wish.model_file, "--model-id", wish.model_id]
    argv += ["--id", wish.worker_id, "--hive-id", owner.id, "--hive", owner.url]
    argv += ["--parent", str(parent), "--hive-grace-s", str(config.hive_grace_s)]
    argv += ["--drain-s", str(config.drain_s)]
    argv += ["--port-from", str(config.worker_port), "--slots", str(wish.slots)]
    argv += ["--device", wish.device, "--gpu-layers", str(wish.gpu_layers)]
    argv += ["--bind", config.bind]
    argv += ["--kv-tokens", str(config.kv_tokens), "--batch-tokens", str(config.batch_tokens)]
    argv += ["--speculate-tokens", str(config.speculate_tokens)]
    optional = (
        ("--sha256", wish.sha256),
        ("--ctx", wish.context),
        ("--threads", wish.threads),
        ("--queen", config.queen),
        ("--projector", wish.projector.file if wish.projector else ""),
        *(("--lora", f"{name}={part.file}") for name, part in wish.lora.items()),
    )
    for flag, value in optional:
        argv += [flag, str(value)] if value else []
    return [*argv, "--insecure"] if config.insecure else argv


def environment(env: Mapping[str, str], config: HiveConfig) -> dict[str, str]:
    """The environment of a worker."""
    kept = {k: v for k, v in env.items() if not _is_private(k)}
    kept["RBEE_LOG_LEVEL"] = config.log_level
    kept["RBEE_MAX_BODY_BYTES"] = str(config.max_body_bytes)
    if config.allowed_hosts:
        kept["RBEE_ALLOWED_HOSTS"] = ",".join(config.allowed_hosts)
    return kept


def _is_private(name: str) -> bool:
    setting = name.startswith("RBEE_") and name.removeprefix("RBEE_").lower() in _SETTINGS
    return setting or name in _NOT_FOR_WORKERS or name.upper().startswith(_HUB_PREFIXES)


@dataclass(frozen=True)
class Said:
    """A line of a worker's stdout that means something."""

    kind: Literal["progress", "ready", "failed"]
    done: int = 0
    total: int = 0
    url: str = ""
    error: RbeeError | None = None


def understand(line: str) -> Said | None:
    """What a line means; None for anything else, which is log."""
    word, _, rest = line.partition(" ")
    if word == "progress":
        return _progress(rest)
    if word == "ready" and port_of(rest):
        return Said("ready", url=rest)
    if word == "failed":
        return Said("failed", error=_error(rest))
    return None


def _progress(rest: str) -> Said | None:
    parts = rest.split()
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() and len(p) < 16 for p in parts):
        return None
    return Said("progress", done=int(parts[0]), total=int(parts[1]))


def _error(rest: str) -> RbeeError:
    try:
        found = msgspec.json.decode(rest, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return SpawnFailed(f"The worker failed: {rest[:400]}")
    path = f"$.{found.param}" if found.param else ""
    return from_code(found.code, found.message, hint=found.hint, path=path)


def port_of(url: str) -> int:
    """The port of an http URL; 0 when it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return 0
    return port or 0 if parts.scheme == "http" and parts.hostname else 0
