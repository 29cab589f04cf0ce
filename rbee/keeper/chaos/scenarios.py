"""The scenarios, by name: what `rbee chaos` can do to a fleet. Data only."""

from __future__ import annotations

from rbee.keeper.chaos.plan import Cancel, Flood, Load, Scenario, Shape, StopReading

AGAIN = "it starts processes again, and it knows how only those were started that it started itself"
SDK = Load(doors=("sdk", "blocking"))
"""Clients that attach again by themselves."""
PATIENT = Load(patience_s=30.0)

_ALL = (
    Scenario(
        "worker-kill",
        "a worker is killed (-9) in the middle of an answer",
        50,
        ("kill-worker",),
        ("finished", "same", "hit", "moved"),
    ),
    Scenario(
        "queen-kill",
        "the queen is killed (-9) in the middle of an answer, and started again",
        20,
        ("kill-queen",),
        ("finished", "same", "hit", "stayed"),
        load=SDK,
        alone=AGAIN,
    ),
    Scenario(
        "queen-lost",
        "one of two queens is killed (-9) in the middle of an answer: the other one goes on",
        5,
        ("lose-queen",),
        ("finished", "same", "hit", "stayed"),
        load=SDK,
        shape=Shape(queens=2),
        alone=AGAIN,
    ),
    Scenario(
        "hive-kill-adopt",
        "a hive is killed (-9) in the middle of an answer, and started again",
        5,
        ("kill-hive",),
        ("finished", "same", "hit", "stayed"),
        alone=AGAIN,
    ),
    Scenario(
        "hive-kill-gone",
        "a hive is killed (-9) and not started again: its workers go as well",
        3,
        ("lose-hive",),
        ("finished", "same", "hit"),
        alone=AGAIN,
    ),
    Scenario(
        "worker-wedge",
        "a worker stands still (SIGSTOP) in the middle of an answer",
        5,
        ("stop-worker",),
        ("finished", "same", "hit", "moved", "quick"),
    ),
    Scenario(
        "worker-drain",
        "a worker is deleted with `--drain` in the middle of an answer",
        5,
        ("drain-worker",),
        ("finished", "same", "hit"),
    ),
    Scenario(
        "hive-drain",
        "a hive is drained in the middle of an answer, and then takes work again",
        4,
        ("drain-hive",),
        ("finished", "same", "hit"),
        alone="it empties a hive of whatever it runs",
    ),
    Scenario(
        "poison",
        "a request kills every worker that reads it",
        3,
        ("poison",),
        ("finished", "same", "hit"),
    ),
    Scenario(
        "rolling-restart",
        "every process is replaced under load: both hives, then the queen",
        1,
        ("replace-hives", "replace-queen"),
        ("finished", "same", "welcome"),
        way="steady",
        load=PATIENT,
        alone=AGAIN,
    ),
    Scenario(
        "overload",
        "ten times as many requests as can be answered",
        1,
        (Flood(times=10, peak_s=12, flood_s=12, tokens=960),),
        ("finished", "same", "refused", "flat"),
        way="own",
        load=Load(doors=("chat",)),
        shape=Shape(queue_limit=16),
    ),
    Scenario(
        "slow-reader",
        "a reader takes the beginning of a long answer and nothing more",
        2,
        (
            StopReading(
                taken_bytes=2_000, paused_within_s=45, beside_s=50, not_before_s=55, cut_within_s=80
            ),
        ),
        ("finished", "same", "flat"),
        way="own",
        shape=Shape(slots=8),
    ),
    Scenario(
        "cancel",
        "requests are cancelled while queued, loading, in the prompt, decoding and paused",
        3,
        (
            Cancel(
                phases=("queued", "loading", "in the prompt", "decoding", "paused"),
                hows=("by name", "by closing"),
                free_within_s=0.5,
            ),
        ),
        ("finished",),
        way="own",
        load=Load(doors=("sdk",)),
        alone="it fills every slot with requests that do not end",
    ),
)
SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
