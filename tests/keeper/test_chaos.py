"""`rbee chaos` on the command line, as far as it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.keeper.command import local


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["worker-kil"], "no scenario 'worker-kil'. Did you mean 'worker-kill'?"),
        (["--really", "--yes", "queen-kill"], "queen-kill is not done to your own fleet"),
        (["--really", "worker-kill"], "--really asks at a terminal"),
        (["--yes", "worker-kill"], "--queen and --yes belong to --really"),
        (["worker-kill", "--n", "0"], "--n"),
    ],
)
def test_wrong_usage_says_what_is_wrong(tmp_path: Path, arguments: list[str], why: str) -> None:
    done = local(tmp_path)("chaos", *arguments)
    assert done.code == 2 and why in done.err and not done.out


def test_a_fleet_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    rbee = local(tmp_path)
    done = rbee("chaos", "worker-kill", "--really", "--yes", "--n", "1", "--json")
    assert done.code == 1
    assert "Nothing answers at" in done.out and '"passed": false' in done.out


def test_help_lists_every_scenario(tmp_path: Path) -> None:
    from rbee.keeper.chaos.scenarios import SCENARIOS

    done = local(tmp_path)("chaos", "--help")
    assert done.code == 0
    assert all(name in done.out for name in SCENARIOS)
