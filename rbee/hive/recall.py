"""What a worker is, read back from the arguments it was called with (`launch.arguments`). Pure.

A hive that was killed wrote nothing down; its workers still know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rbee.hive.launch import START, Owner, Part, Wish


@dataclass(frozen=True)
class Called:
    """A worker's arguments, understood."""

    wish: Wish
    owner: Owner
    queen: str


def called(argv: Sequence[str], id_of: Callable[[str], str]) -> Called | None:
    """Who runs, when it was called by a hive; None for every other process. `id_of` knows the id
    of a model file, for arguments tell projectors and adapters by their files alone."""
    if tuple(argv[1 : 1 + len(START)]) != START:
        return None
    pairs = list(_pairs(argv[1 + len(START) :]))
    given = dict(pairs)
    lora = [value.partition("=") for flag, value in pairs if flag == "--lora"]
    projector = given.get("--projector", "")
    try:
        wish = Wish(
            worker_id=given["--id"],
            model_id=given["--model-id"],
            model_file=given["--model"],
            sha256=given.get("--sha256", ""),
            device=given["--device"],
            slots=int(given["--slots"]),
            context=int(given.get("--ctx", "0")),
            threads=int(given.get("--threads", "0")),
            gpu_layers=int(given["--gpu-layers"]),
            projector=Part(id_of(projector), projector) if projector else None,
            lora={name: Part(id_of(file), file) for name, _, file in lora},
        )
        owner = Owner(given["--hive-id"], given["--hive"])
    except (KeyError, ValueError):
        return None  # called by a person, or by another version of rbee
    return Called(wish, owner, given.get("--queen", ""))


def _pairs(flags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each flag with its value; only the last may have none (`--insecure`)."""
    return (pair for n, pair in enumerate(pairwise(flags)) if n % 2 == 0)
