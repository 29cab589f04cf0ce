"""The sha256 of the model's file, where nobody told it: it says who can go on for whom."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from anyio.to_thread import run_sync

from rbee.worker.prepare import LoadedModel

log = logging.getLogger(__name__)
HASH_BLOCK = 4 * 1024 * 1024


async def hashed(model: LoadedModel, poke: Callable[[], None]) -> None:
    """The file's sha256, when nobody told it; large files take a while, so beside the serving."""
    if model.sha256:
        return
    ended = False
    try:
        model.sha256 = await run_sync(_sha256, model.path, lambda: ended, abandon_on_cancel=True)
    except OSError as exc:
        log.warning("%s can no longer be read, its sha256 stays unknown: %s", model.path.name, exc)
    else:
        poke()
    finally:
        ended = True


def _sha256(path: Path, ended: Callable[[], bool]) -> str:
    """Block by block: the process cannot end while a thread still reads."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while not ended() and (block := file.read(HASH_BLOCK)):
            digest.update(block)
    return digest.hexdigest()
