"""What is refused before anything is computed: pure."""

from __future__ import annotations

from typing import Any

import pytest

from rbee.contracts.operations import Infer
from rbee.errors import BadRequest
from rbee.wire.sse import MAX_FRAME_BYTES
from rbee.worker.refusals import SCORE_BYTES, check_echo


def asked(**fields: Any) -> Infer:
    return Infer(model="bee", prompt="a", **fields)


def test_a_prompt_is_scored_only_as_far_as_an_event_can_tell() -> None:
    most = MAX_FRAME_BYTES // (SCORE_BYTES * 21)
    check_echo(asked(echo=True, logprobs=20), most)
    with pytest.raises(BadRequest, match=f"{most} tokens can") as caught:
        check_echo(asked(echo=True, logprobs=20), most + 1)
    assert caught.value.path == "$.logprobs"
    check_echo(asked(echo=True, logprobs=0), most + 1)
    check_echo(asked(echo=True), 1_000_000)
    check_echo(asked(logprobs=20), 1_000_000)
