"""Events on a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest

from rbee.contracts.events import (
    AnyEvent,
    Done,
    Failed,
    Moved,
    Progress,
    Prompt,
    Queued,
    Token,
)
from rbee.errors import Upstream, WorkerGone
from rbee.keeper.show import (
    BACK,
    BELOW,
    BRIGHT,
    CLEAR,
    DIM,
    TELL_EVERY_S,
    Waiting,
    describe,
    show,
    size,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def token(text: str) -> Token:
    return Token(index=0, text=text, token_ids=[1])


DONE = Done(finish_reason="stop")
LOADING = Progress(what="load", done=40, total=100, unit="percent")


def test_text_goes_out_as_it_is_when_piped() -> None:
    out, err = io.StringIO(), io.StringIO()
    assert show([token("a\x1b[2J"), token("b"), DONE], out, err) is DONE
    assert out.getvalue() == "a\x1b[2Jb\n"
    assert err.getvalue() == ""


def test_text_is_made_harmless_on_a_terminal() -> None:
    out = Terminal()
    show([token("a\x1b[2J\n"), DONE], out, io.StringIO())
    assert out.getvalue() == "a␛[2J\n"


def test_a_wait_is_shown_in_place_and_gone_before_the_first_token() -> None:
    screen = Terminal()
    show([Queued(position=2), LOADING, token("x"), DONE], screen, screen)
    assert screen.getvalue() == f"{CLEAR}waiting, 2 ahead{CLEAR}load 40%{CLEAR}x\n"


MOVED = Moved(worker_id="w-1", why="killed", migrations=1)
LOST = f"{DIM}worker w-1 was lost; going on elsewhere{BRIGHT}"


def test_a_lost_worker_is_told_below_the_text_and_gone_when_it_goes_on() -> None:
    screen = Terminal()
    show([token("one"), MOVED, LOADING, token(" two"), DONE], screen, screen)
    told = f"{BELOW}{CLEAR}{LOST}{CLEAR}load 40%{CLEAR}{BACK}"
    assert screen.getvalue() == f"one{told} two\n"


def test_a_lost_worker_is_told_in_place_where_no_text_stands() -> None:
    screen = Terminal()
    show([MOVED, token("one\n"), MOVED, token("two"), DONE], screen, screen)
    assert screen.getvalue() == f"{CLEAR}{LOST}{CLEAR}one\n{CLEAR}{LOST}{CLEAR}two\n"


def test_text_that_goes_elsewhere_is_not_in_the_way() -> None:
    out, err = io.StringIO(), Terminal()
    show([token("one"), MOVED, token(" two"), DONE], out, err)
    assert (out.getvalue(), err.getvalue()) == ("one two\n", f"{CLEAR}{LOST}{CLEAR}")


def test_a_lost_worker_is_no_word_in_a_pipe() -> None:
    out, err = io.StringIO(), io.StringIO()
    show([token("one"), MOVED, token(" two"), DONE], out, err)
    assert (out.getvalue(), err.getvalue()) == ("one two\n", "")


def test_what_others_write_on_the_line_is_gone_with_it() -> None:
    err = Terminal()
    with Waiting(err) as waiting:
        waiting.note("trying again")
        show([token("x"), DONE], io.StringIO(), err, waiting)
    assert err.getvalue() == f"{CLEAR}{DIM}trying again{BRIGHT}{CLEAR}"


THOUGHT = Token(index=0, text="", token_ids=[1], reasoning="a\x1b[2J plan")


def test_thoughts_are_dimmed_and_harmless_and_the_answer_has_a_line_of_its_own() -> None:
    out, err = io.StringIO(), Terminal()
    show([LOADING, THOUGHT, token("x"), DONE], out, err)
    assert out.getvalue() == "x\n"
    assert err.getvalue() == f"{CLEAR}load 40%{CLEAR}{DIM}a␛[2J plan{BRIGHT}\n\n"


def test_nobody_in_a_pipe_reads_thoughts_or_the_prompt() -> None:
    out, err = io.StringIO(), io.StringIO()
    echo = Prompt(text="before", token_ids=[7])
    assert show([echo, THOUGHT, token("x"), DONE], out, err) is DONE
    assert (out.getvalue(), err.getvalue()) == ("x\n", "")


def test_a_short_wait_is_not_told_in_a_pipe_and_a_long_one_now_and_then() -> None:
    err, now = io.StringIO(), 0.0
    waiting = Waiting(err, lambda: now)
    for now in (1.0, TELL_EVERY_S, TELL_EVERY_S + 1, 2 * TELL_EVERY_S):
        waiting.tell(f"at {now}")
    waiting.clear()
    assert err.getvalue() == "at 5.0\nat 10.0\n"


def test_a_failure_is_raised_after_the_text_that_came() -> None:
    out = io.StringIO()
    with pytest.raises(WorkerGone, match="died"):
        show([token("half"), Failed(code="worker_gone", message="It died.")], out, io.StringIO())
    assert out.getvalue() == "half\n"


def test_an_end_without_an_end_is_an_error() -> None:
    with pytest.raises(Upstream):
        show([token("half")], io.StringIO(), io.StringIO())


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Queued(position=0), "waiting"),
        (Queued(position=3, eta_s=1.6), "waiting, 3 ahead, about 2 s"),
        (Progress(what="download", done=512, total=2048, unit="bytes"), "512 B of 2.0 KiB (25%)"),
        (Progress(what="download", done=5 * 1024**3, unit="bytes"), "download 5.0 GiB"),
        (Progress(what="wait", done=1, total=3), "wait 1/3 steps"),
        (Progress(what="download", done=0, total=0, unit="bytes"), "0 B of 0 B (0%)"),
    ],
)
def test_waits_in_words(event: Queued | Progress, words: str) -> None:
    assert describe(event).endswith(words)


def test_sizes() -> None:
    assert [size(n) for n in (0, 1023, 1024, 1024**4 * 3)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "3.0 TiB",
    ]


def test_every_event_can_be_shown() -> None:
    for kind in AnyEvent.__args__:
        assert kind in (Queued, Progress, Prompt, Token, Moved, Done, Failed)
