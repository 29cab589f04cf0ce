"""Updates become events: what is thought, said and called, and the prompt before all of it."""

from __future__ import annotations

from typing import Any, get_args

from rbee.contracts.events import Done, FinishReason, Logprob, Prompt, Token
from rbee.contracts.operations import Infer
from rbee.worker.engine.sampling import Sampling
from rbee.worker.engine.text import Assembler
from rbee.worker.engine.writer import Update
from rbee.worker.prepare import Prepared
from rbee.worker.reading import Reading
from rbee.worker.reasoning import KNOWN
from rbee.worker.replay import Replayed
from rbee.worker.ticket import Ticket
from rbee.worker.tools.forms import HERMES

CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'


class Desk:
    """A ticket, fed by hand with one token for each piece of text."""

    def __init__(self, reading: Reading = Reading(), echo: bool = False, **fields: Any) -> None:  # noqa: B008
        infer = Infer(model="m", prompt="p", echo=echo, **fields)
        prepared = Prepared([7, 8], 99, Sampling(), None, reading, text="pq", echo=echo)
        self.cut: list[int] = []
        begun = [Replayed(Assembler(), reading.reader(), None, []) for _ in range(infer.n)]
        self.ticket = Ticket(infer, prepared, begun, "job", lambda: None, self.cut.append)
        self.logprobs = infer.logprobs is not None
        self.token = 0

    def say(
        self, text: str, choice: int = 0, finish: FinishReason | None = None, **more: Any
    ) -> bool:
        self.token += 1
        logprobs = [Logprob(self.token, text, -0.5, [])] if self.logprobs else None
        update = Update("job", choice, [self.token], text, logprobs, finish, **more)
        return self.ticket.advance(update, 1.0)

    @property
    def tokens(self) -> list[Token]:
        return [event for event in self.ticket.log.since(0) if isinstance(event, Token)]

    def done(self) -> Done:
        return self.ticket.done(2.0, "w", "m", "")


def test_thoughts_and_words_share_the_tokens_in_order() -> None:
    desk = Desk(Reading(form=HERMES, marks=KNOWN[0], thinking=True), logprobs=0)
    for piece in ("a", "\n</thi", "nk>", "\n", "b", CALL):
        desk.say(piece)
    assert desk.say("", finish="stop")
    assert "".join(t.reasoning for t in desk.tokens) == "a"
    assert "".join(t.text for t in desk.tokens) == "b"
    assert [i for t in desk.tokens for i in t.token_ids] == list(range(1, 8))
    assert [p.token_id for t in desk.tokens for p in t.logprobs or ()] == list(range(1, 8))
    assert [t.index for t in desk.tokens] == [0, 1, 5, 6]
    done = desk.done()
    assert done.finish_reason == "tool_calls" and done.usage.reasoning_tokens == 2


def test_a_mark_within_thoughts_is_no_call() -> None:
    desk = Desk(Reading(form=HERMES, marks=KNOWN[0]))
    desk.say(f"<think>{CALL}</think>ok", finish="stop")
    [token] = desk.tokens
    assert (token.reasoning, token.text, token.tool_calls) == (CALL, "ok", None)
    assert desk.done().finish_reason == "stop"


def test_the_only_call_ends_the_choice_and_tells_the_engine_once() -> None:
    desk = Desk(Reading(form=HERMES, several=False), n=2)
    assert not desk.say("x" + CALL, choice=1)
    assert desk.cut == [1]
    assert not desk.say(CALL, choice=1)
    assert not desk.say("", choice=1, finish="cancelled")
    assert desk.say("words", choice=0, finish="length")
    assert desk.cut == [1] and len(desk.tokens) == 2
    assert desk.done().finish_reasons == ["length", "tool_calls"]
    assert desk.done().usage.completion_tokens == 2


def test_a_call_that_ends_the_answer_by_itself_is_not_cut() -> None:
    for finish in get_args(FinishReason)[:2]:
        desk = Desk(Reading(form=HERMES, several=False))
        assert desk.say(CALL, finish=finish)
        assert desk.cut == [] and desk.done().finish_reason == "tool_calls"


def test_a_prompt_is_told_before_the_first_token() -> None:
    desk = Desk(echo=True)
    assert desk.ticket.log.total == 0
    desk.say("a")
    desk.say("b", finish="stop")
    first, *rest = desk.ticket.log.since(0)
    assert first == Prompt(text="pq", token_ids=[7, 8]) and len(rest) == 2


def test_tokens_wait_for_the_prompts_score() -> None:
    desk, scores = (
        Desk(echo=True, n=2, logprobs=0),
        [Logprob(7, "p", None, []), Logprob(8, "q", -1, [])],
    )
    desk.say("early", choice=1)
    assert desk.ticket.log.total == 0
    desk.say("late", prompt=Prompt(text="", token_ids=[7, 8], logprobs=scores))
    prompt, early, late = desk.ticket.log.since(0)
    assert prompt == Prompt(text="pq", token_ids=[7, 8], logprobs=scores)
    assert isinstance(early, Token) and isinstance(late, Token)
    assert (early.text, early.choice, late.text) == ("early", 1, "late")


def test_without_a_token_to_say_the_prompt_is_told_once() -> None:
    desk = Desk(echo=True, n=2)
    scored = Prompt(text="", token_ids=[7, 8], logprobs=[Logprob(7, "p", None, [])])
    for choice in (0, 1):
        ended = desk.ticket.advance(Update("job", choice, finish="length", prompt=scored), 1.0)
        assert ended == (choice == 1)
    assert list(desk.ticket.log.since(0)) == [Prompt(text="pq", token_ids=[7, 8])]


def test_the_stop_string_is_told() -> None:
    desk = Desk(n=2)
    desk.say("a", finish="stop", stop="END")
    desk.say("a", choice=1, finish="stop")
    assert desk.done().stops == ["END", None]
