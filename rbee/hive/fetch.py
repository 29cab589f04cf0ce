"""The download process: `python -m rbee.hive.fetch NAME MODELS_DIR TIMEOUT_S`.

A process of its own, because the hub's library blocks: it can be killed at any moment, and never
holds up the hive. It tells events (`progress`, then `done` or `failed`) on stdout, one JSON object
a line, and ends itself when its stdin closes: that is how it learns that the hive has died.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from pathlib import Path

from rbee.contracts.events import AnyEvent, Done, Progress
from rbee.errors import HubFailed, RbeeError, Unavailable
from rbee.hive import hub
from rbee.hive.choice import HubFile, choose
from rbee.hive.lifecycle import backoff_s
from rbee.hive.partial import Partial
from rbee.naming import Reference, parse
from rbee.wire.codec import encode
from rbee.wire.replies import failed

TELL_EVERY_S = 0.2
BREAKS_MAX = 3
"""Breaks in a row without a new byte, after which the download is given up."""
PAUSE_S, MAX_PAUSE_S = 0.5, 4.0
"""After a break: doubled with each one in a row, with jitter."""


def main(argv: list[str]) -> int:
    name, folder, timeout_s = argv
    threading.Thread(target=_die_with_hive, daemon=True).start()
    try:
        tell(fetch(parse(name), Path(folder), float(timeout_s)))
    except RbeeError as exc:
        tell(failed(exc))
        return 1
    except OSError as exc:
        tell(failed(Unavailable(f"{folder} cannot be written: {exc.strerror or exc}.")))
        return 1
    return 0


def _die_with_hive() -> None:
    while os.read(0, 4_096):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    os._exit(1)


def tell(event: AnyEvent) -> None:
    sys.stdout.buffer.write(encode(event) + b"\n")
    sys.stdout.buffer.flush()


class Teller:
    """Progress, but not more often than anyone can read."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._next = 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now >= self._next or done == self._total:
            self._next = now + TELL_EVERY_S
            tell(Progress(what=self._what, done=done, total=self._total, unit="bytes"))


def fetch(reference: Reference, models: Path, timeout_s: float) -> Done:
    """Fetch the file that `reference` means into the models folder."""
    listing = hub.listing(reference.repo, timeout_s)
    file = choose(reference, listing.files)
    model_id = f"{reference.repo}/{file.path}"
    target = models / model_id
    if not target.resolve().is_relative_to(models.resolve()):
        raise HubFailed(f"{model_id[:200]!r} would lie outside the models folder.")
    partial, teller = Partial(models, target, file), Teller("download", file.size)
    digest = ""
    with hub.alone(partial.lock, lambda: teller(partial.done)):
        if not target.exists():
            partial.prepare()
            _transfer(reference.repo, listing.commit, file, partial, timeout_s)
            digest = partial.finish(Teller("check", file.size))
    return Done(finish_reason="stop", result={"id": model_id, "sha256": digest})


def _transfer(repo: str, commit: str, file: HubFile, partial: Partial, timeout_s: float) -> None:
    """Bring the partial file to its full length, over as many connections as that takes."""
    teller, breaks = Teller("download", file.size), 0
    while partial.missing:
        before = partial.done
        teller(before)
        problem = hub.Interrupted(f"The hub ended {file.path} early.")
        try:
            partial.append(hub.content(repo, commit, file.path, before, timeout_s), teller)
        except hub.Interrupted as exc:
            problem = exc
        breaks = breaks + 1 if partial.done == before else 1
        if partial.missing:
            if breaks >= BREAKS_MAX:
                raise problem
            time.sleep(backoff_s(breaks, PAUSE_S, MAX_PAUSE_S, random.random()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
