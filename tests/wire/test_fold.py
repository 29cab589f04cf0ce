"""Prompts and thoughts are part of a whole answer."""

from __future__ import annotations

from rbee.contracts.answers import Prompted
from rbee.contracts.events import Done, Logprob, Prompt, Token
from rbee.wire.fold import Fold


def test_what_is_thought_stays_apart_from_what_is_said() -> None:
    fold = Fold(2)
    fold.add(
        [
            Token(index=0, text="", token_ids=[1], reasoning="so "),
            Token(index=1, text="Yes", token_ids=[2], reasoning="yes"),
        ]
    )
    done = Done(finish_reason="stop", finish_reasons=["stop", "length"], stops=["END", None])
    first, second = fold.answer("job", done).choices
    assert (first.text, first.reasoning, first.stop) == ("Yes", "so yes", "END")
    assert (second.text, second.reasoning, second.stop) == ("", "", None)


def test_the_prompt_is_told_with_its_score() -> None:
    fold, scores = Fold(), [Logprob(7, "p", None, [])]
    done = Done(finish_reason="length")
    assert fold.answer("job", done).prompt is None
    fold.add([Prompt(text="p", token_ids=[7], logprobs=scores)])
    assert fold.answer("job", done).prompt == Prompted("p", [7], scores)
