"""Whether a worker that serves still gets on, by its heartbeats. Pure.

1. Silent for `SILENT_S`: it was stopped, or its event loop hangs.
2. Its engine's step takes longer than any may: the engine hangs.

Times are ours. Who was not awake to listen (this hive was stopped itself) heard nobody: silence
counts from when it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from rbee.contracts.fleet import WorkerBeat

SILENT_S = 4.0


@dataclass(frozen=True)
class Pulse:
    """A worker's last heartbeat; before the first one, that it said `ready`."""

    heard: float
    running: int = 0
    """Answers that it is giving."""
    step: int = 0
    step_age_s: float = 0.0
    step_limit_s: float = 0.0


def pulse_of(beat: WorkerBeat, now: float) -> Pulse:
    return Pulse(now, len(beat.jobs), beat.step, beat.step_age_s, beat.step_limit_s)


def ailment(pulse: Pulse, now: float, awake: float) -> str:
    """What is wrong with the worker; empty when nothing is. `awake`: since when we listen."""
    silent_s = now - max(pulse.heard, awake)
    if silent_s >= SILENT_S:
        return f"it was silent for {silent_s:.1f} s"
    if 0 < pulse.step_limit_s < pulse.step_age_s:
        return (
            f"its step {pulse.step} took {pulse.step_age_s:.1f} s, "
            f"and none may take more than {pulse.step_limit_s:.1f} s"
        )
    return ""
