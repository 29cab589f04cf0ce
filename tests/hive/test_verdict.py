"""Why a worker ended, in words."""

from __future__ import annotations

from rbee.hive.tail import Tail
from rbee.hive.verdict import died, late


def tail(*lines: str) -> Tail:
    made = Tail()
    made.begin(7)
    for line in lines:
        made.add(line)
    return made


def test_last_words_are_words() -> None:
    said = tail("progress 50 100", "a heap was corrupt", "progress 100 100", "ready http://x:8080")
    assert died(-11, True, said).message == (
        "The worker was ended by signal 11 while it served. Its last words: a heap was corrupt"
    )


def test_progress_alone_is_no_word() -> None:
    assert late(3.0, tail("progress 50 100")).message.endswith("within 3 s. It said nothing.")


def test_the_last_words_are_the_last_five() -> None:
    said = died(1, False, tail(*(f"line {n}" for n in range(9)))).message
    assert said.endswith("line 4 | line 5 | line 6 | line 7 | line 8")
