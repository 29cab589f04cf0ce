"""`rbee chaos`: what happens to answers when machines, processes and readers go away.

Each scenario runs on a throw-away fleet of its own (own home, free ports, loopback only) that is
ended whatever happens, or with `--really` on the person's own. What was asked is compared with the
same answers undisturbed, to the character.
"""

from __future__ import annotations

import difflib
import signal

import click

from rbee.errors import Usage
from rbee.keeper.chaos.plan import Scenario
from rbee.keeper.chaos.scenarios import SCENARIOS
from rbee.keeper.options import queen_option


def _described() -> str:
    width = max(map(len, SCENARIOS))
    lines = (f"  {s.name:{width}}  {s.what}" for s in SCENARIOS.values())
    return "\b\n" + "\n".join(lines)


@click.command(epilog=_described())
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO ...]")
@click.option("--n", type=click.IntRange(1, 100_000), help="How often; left out: each its own.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0, 2**31 - 1))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--really", is_flag=True, help="Do it to your own fleet, after you confirm.")
@click.option("--yes", is_flag=True, help="With --really: do not ask.")
@queen_option
@click.pass_context
def chaos(
    ctx: click.Context,
    scenarios: tuple[str, ...],
    n: int | None,
    seed: int,
    as_json: bool,
    really: bool,
    yes: bool,
    queen: str,
) -> None:
    """Kill, stop, drain and flood a fleet, and count what its clients lose.

    Without --really on a throw-away fleet with the embedded model. Exit code 0 only if every
    check has passed.
    """
    from rbee.keeper.chaos import own, run, table

    chosen = [_named(name) for name in scenarios] or list(SCENARIOS.values())
    if not really and (yes or queen):
        raise Usage("--queen and --yes belong to --really; the throw-away fleet has its own.")
    fleet = run.own_throwaway
    if really:
        chosen = own.possible(chosen, refuse=bool(scenarios))
        fleet = own.confirmed(queen, yes)
    _end_in_order()
    if not table.show(run.run(chosen, n, seed, fleet), seed, as_json):
        ctx.exit(1)


def _end_in_order() -> None:
    """Whatever ends us ends us as Ctrl-C does: the throw-away fleet is ended first. A shell has its
    background jobs ignore Ctrl-C; `nohup` has them ignore SIGHUP, and that is left so."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


def _named(name: str) -> Scenario:
    if name not in SCENARIOS:
        close = difflib.get_close_matches(name, SCENARIOS, 1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise Usage(
            f"There is no scenario {name!r}.{meant}", hint="rbee chaos --help lists all of them"
        )
    return SCENARIOS[name]
