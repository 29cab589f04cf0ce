"""Which workers say that they have which job: so a queen finds what the one before her began."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class Whereabouts:
    """Job ids to worker ids, kept up to date by every beat."""

    def __init__(self) -> None:
        self._jobs: dict[str, frozenset[str]] = {}
        """Worker to its jobs, as it last said."""
        self._workers: dict[str, dict[str, None]] = {}
        """Job to its workers, in the order in which they first named it."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._workers)

    def __len__(self) -> int:
        return len(self._workers)

    def note(self, worker: str, jobs: Sequence[str]) -> None:
        """The worker has these jobs, and no others."""
        had, has = self._jobs.get(worker, frozenset()), frozenset(jobs)
        if had == has:
            return
        for job in had - has:
            del self._workers[job][worker]
            if not self._workers[job]:
                del self._workers[job]
        for job in has - had:
            self._workers.setdefault(job, {})[worker] = None
        if has:
            self._jobs[worker] = has
        else:
            del self._jobs[worker]

    def of(self, job: str) -> list[str]:
        """Workers that have it; the one that named it last comes first."""
        return list(reversed(self._workers.get(job, ())))
