"""Completions, vectors and ranks, through the official client and a real worker with `bee`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.http import ask
from tests.system.stack import Stack

FACT = "The capital of France is"


@pytest.fixture(scope="module")
def client(shared: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{shared.queen}/v1", api_key="none", max_retries=0, timeout=60
    ) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def ids(stack: Stack, text: str) -> list[int]:
    found: list[int] = ask("POST", f"{stack.queen}/tokenize", {"text": text}).json()["tokens"]
    return found


def test_an_echo_scores_the_prompt(client: openai.OpenAI) -> None:
    made = client.completions.create(model="bee", prompt=FACT, max_tokens=6, logprobs=2)
    whole = FACT + made.choices[0].text
    read = client.completions.create(model="bee", prompt=whole, echo=True, max_tokens=0, logprobs=2)
    assert (read.choices[0].text, read.choices[0].finish_reason) == (whole, "length")
    assert read.usage is not None and read.usage.completion_tokens == 0
    told, scored = made.choices[0].logprobs, read.choices[0].logprobs
    assert told is not None and scored is not None
    assert scored.tokens is not None and scored.token_logprobs is not None
    assert told.tokens is not None and told.token_logprobs is not None
    assert "".join(scored.tokens) == whole
    assert scored.text_offset == [
        len("".join(scored.tokens[:i])) for i in range(len(scored.tokens))
    ]
    assert scored.token_logprobs[0] is None
    count = len(told.tokens)
    assert scored.tokens[-count:] == told.tokens
    assert scored.token_logprobs[-count:] == pytest.approx(told.token_logprobs, abs=0.1)


def test_an_echo_streams_first(client: openai.OpenAI) -> None:
    parts = client.completions.create(
        model="bee", prompt=[FACT, "Hello"], echo=True, max_tokens=4, stream=True
    )
    told = {0: "", 1: ""}
    for part in parts:
        for choice in part.choices:
            told[choice.index] += choice.text
    assert told[0].startswith(FACT) and len(told[0]) > len(FACT)
    assert told[1].startswith("Hello")


def test_the_best_of_several(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="bee",
        prompt=FACT,
        n=2,
        best_of=4,
        temperature=1.5,
        seed=7,
        max_tokens=8,
        logprobs=0,
    )
    means = []
    for choice in answer.choices:
        assert choice.logprobs is not None and choice.logprobs.token_logprobs is not None
        means.append(sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs))
    assert len(means) == 2 and means == sorted(means, reverse=True)
    assert answer.usage is not None and answer.usage.completion_tokens > 16


def test_bee_cannot_fill_in_the_middle(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="middle") as caught:
        client.completions.create(model="bee", prompt="a", suffix="b")
    assert caught.value.param == "suffix"


def test_embeddings_in_every_form(client: openai.OpenAI, shared: Stack) -> None:
    tokens = ids(shared, "a queen")
    made = client.embeddings.create(model="bee", input=["a queen", "hello"])
    plain = client.embeddings.create(model="bee", input="a queen", encoding_format="float")
    whole = plain.data[0].embedding
    assert made.data[0].embedding == pytest.approx(whole, abs=1e-3)
    for given in (tokens, [tokens]):
        one = client.embeddings.create(model="bee", input=given, encoding_format="float")
        assert one.data[0].embedding == pytest.approx(whole, abs=1e-3)
    short = client.embeddings.create(model="bee", input="a queen", dimensions=16)
    cut = short.data[0].embedding
    length = math.sqrt(sum(x * x for x in whole[:16]))
    assert cut == pytest.approx([x / length for x in whole[:16]], abs=1e-3)
    with pytest.raises(openai.BadRequestError) as long:
        client.embeddings.create(model="bee", input="a queen", dimensions=100_000)
    assert long.value.param == "dimensions"


def test_ranking_and_templates(shared: Stack) -> None:
    documents = ["The queen listens on a port.", "queen", "Count from 1 to 10."]
    asked = {"model": "bee", "query": "queen", "documents": documents}
    found = ask("POST", f"{shared.queen}/v1/rerank", asked).json()["results"]
    assert found[0]["index"] == 1
    assert found[0]["relevance_score"] == pytest.approx(1.0, abs=1e-2)
    body = {"messages": user("Hello")}
    text = ask("POST", f"{shared.queen}/apply-template", body).json()["prompt"]
    assert text == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    counted = ask("POST", f"{shared.queen}/tokenize", body).json()
    assert ask("POST", f"{shared.queen}/tokenize", {"text": text}).json() == counted
