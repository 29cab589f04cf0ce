"""Lists of inputs that wait for their vectors: a group of them a step, so that no stream stalls."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from rbee.errors import RbeeError
from rbee.worker.engine.backend import Backend, DecodeFailed, Row
from rbee.worker.engine.commands import Vector
from rbee.worker.engine.patience import Load, Patience

VECTORS_A_STEP = 16


class Pooling:
    """The line of vector commands, with what is found so far. In the engine thread."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._line: deque[tuple[Vector, list[Row]]] = deque()
        self._patience = Patience()

    def __bool__(self) -> bool:
        return bool(self._line)

    def add(self, command: Vector) -> None:
        self._line.append((command, []))

    @property
    def limit_s(self) -> float:
        """How long the next group may take."""
        command, found = self._line[0]
        return self._patience.limit_s(_load(self._group(command.inputs[len(found) :])))

    def step(self) -> None:
        """Compute the next group of the first command. Raises `DecodeFailed` when it is fatal."""
        if not self._line:
            return
        command, found = self._line[0]
        error: RbeeError | None = None
        if not command.cancelled.is_set():
            try:
                found += self._embedded(self._group(command.inputs[len(found) :]))
            except DecodeFailed as exc:
                if exc.fatal:
                    raise
                error = RbeeError(f"The engine could not compute this vector: {exc}.")
        if error or command.cancelled.is_set() or len(found) == len(command.inputs):
            self._line.popleft()
            command.done(error or found)

    def _embedded(self, group: Sequence[Sequence[int]]) -> list[Row]:
        began = time.monotonic()
        made = self._backend.embed(group)
        self._patience.observe(_load(group), time.monotonic() - began)
        return made

    def _group(self, inputs: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        """As many of the next inputs as go into one batch; one at least."""
        count, room = 0, self._backend.embed_tokens
        for item in inputs[:VECTORS_A_STEP]:
            room -= len(item)
            if room < 0 and count:
                break
            count += 1
        return inputs[:count]


def _load(group: Sequence[Sequence[int]]) -> Load:
    return Load(sum(map(len, group)), max(map(len, group)))
