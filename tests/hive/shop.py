"""Hives that download from a local hub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rbee import bee
from rbee.hive.partial import FOLDER
from tests.http import Answer, ask
from tests.processes import Started, role

BEE = bee.path().read_bytes()
DIGEST = hashlib.sha256(BEE).hexdigest()
NAME = "org/repo/tiny-Q8_0.gguf"
STREAM = {"Accept": "text/event-stream"}


@contextmanager
def hive(home: Path, env: Mapping[str, str], **settings: object) -> Iterator[Started]:
    with role("hive", {"queen": "", **settings}, {"RBEE_HOME": str(home), **env}) as made:
        yield made


def download(made: Started, model: str, timeout_s: float = 30.0) -> Answer:
    body = {"operation": "model_download", "model": model}
    return ask("POST", f"{made.url}/v1/jobs", body, timeout_s=timeout_s)


def message(answer: Answer) -> str:
    return str(answer.json()["error"]["message"])


def partials(home: Path) -> list[Path]:
    return list((home / "models" / FOLDER).glob("*.incomplete"))
