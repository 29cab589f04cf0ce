"""Chat templates that do harm, in the file of the model that a real worker runs: every chat is
refused soon and says why, and prompts, which need no template, are answered beside it as ever.
`test_template` has more of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from gguf import Keys

from tests.bee import known_answers as known
from tests.http import Answer, ask
from tests.processes import Started
from tests.worker.bees import infer, request, serving, status, until
from tests.worker.test_describe import copied

REFUSED_WITHIN_S = 6.0
"""The template's own two seconds, on a machine that is busy with other things."""
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
HARM = {
    "loops for ever": (LOOP, "took longer than"),
    "writes for ever": (
        LOOP.replace("%}{% endfor", "%}{{ 'x' * 99 }}{% endfor", 1),
        "writes without",
    ),
    "calls itself": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "refuses this chat"),
    "raises": ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
}
COUNT = "Count from 1 to 10."
PROMPT = f"<|im_start|>user\n{COUNT}<|im_end|>\n<|im_start|>assistant\n"


def chat(worker: Started, path: str = "/v1/infer") -> Answer:
    body = request("Hello", stream=False) if path == "/v1/infer" else {"messages": MESSAGES}
    return ask("POST", worker.url + path, body)


MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(params=HARM, scope="module")
def harmful(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Started, str]]:
    source, why = HARM[request.param]
    extra = {Keys.Tokenizer.CHAT_TEMPLATE: source}
    path = copied(
        tmp_path_factory.mktemp("harm") / "bee.gguf", extra, (Keys.Tokenizer.CHAT_TEMPLATE,)
    )
    with serving(model=path, model_id="bee", slots=2) as worker:
        yield worker, why


def test_a_chat_is_refused_soon_and_a_prompt_beside_it_is_not(
    harmful: tuple[Started, str],
) -> None:
    worker, why = harmful
    refused: list[tuple[float, Answer]] = []

    def refuse() -> None:
        for path in ("/v1/infer", "/tokenize", "/apply-template"):
            began = time.monotonic()
            found = chat(worker, path)
            refused.append((time.monotonic() - began, found))

    thread = threading.Thread(target=refuse)
    thread.start()
    heard = 0
    while thread.is_alive() or not heard:
        assert (
            infer(worker.url, prompt=PROMPT, temperature=0)["choices"][0]["text"]
            == known.ANSWERS[COUNT]
        )
        heard += 1
    thread.join()
    assert len(refused) == 3
    for took, found in refused:
        error = found.json()["error"]
        assert found.status == 400 and why in error["message"], error
        assert error.get("param") in ("messages", None) and took < REFUSED_WITHIN_S
    until(lambda: status(worker.url)["busy"] == 0)
    assert worker.child.poll() is None
