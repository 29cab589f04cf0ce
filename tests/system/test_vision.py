"""A model that sees, from a hive's folder to OpenAI's and Anthropic's clients."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.http import ask
from tests.system.stack import Stack, stack
from tests.worker.pictures import part, picture_url, png_of, url
from tests.worker.random_projector import IMAGE_TOKENS, pair

SEER = "made/up/llava.gguf"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("seers")
    folder = (home / "models" / SEER).parent
    folder.mkdir(parents=True)
    pair(folder, "llava")
    with stack(home) as made:
        yield made


@pytest.fixture
def client(fleet: Stack) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{fleet.queen}/v1", api_key="none", max_retries=0, timeout=60.0)


def looking_at(source: str) -> list[ChatCompletionMessageParam]:
    return [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": source, "detail": "low"}},
            ],
        }
    ]


def test_openais_client_shows_a_picture(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(
        model=SEER, messages=looking_at(picture_url(1)), max_tokens=5, temperature=0
    )
    assert found.usage is not None and found.usage.prompt_tokens > IMAGE_TOKENS["llava"]
    assert found.usage.completion_tokens == 5


def test_and_streams_what_is_said_of_it(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=SEER,
            messages=looking_at(picture_url(2)),
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].usage is not None and chunks[-1].usage.prompt_tokens > IMAGE_TOKENS["llava"]


def test_anthropics_client_shows_a_picture(fleet: Stack) -> None:
    client = anthropic.Anthropic(base_url=fleet.queen, api_key="none", max_retries=0, timeout=60.0)
    found = client.messages.create(
        model=SEER,
        max_tokens=5,
        messages=[
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {
                            "type": "base64",
                            "media_type": "image/png",
                            "data": picture_url(3).partition(",")[2],
                        },
                    },
                    {"type": "text", "text": "What is this?"},
                ],
            }
        ],
    )
    assert found.usage.input_tokens + (found.usage.cache_read_input_tokens or 0) > 64


@pytest.mark.parametrize(
    ("source", "says"),
    [("https://example.org/a.png", "never fetched"), (url(png_of(20_000, 20_000)), "pixels")],
    ids=["network", "huge"],
)
def test_a_bad_picture_is_the_requests_fault(client: openai.OpenAI, source: str, says: str) -> None:
    with pytest.raises(openai.APIStatusError, match=says) as refused:
        client.chat.completions.create(model=SEER, messages=looking_at(source))
    assert refused.value.status_code in (400, 413)


def test_a_model_that_cannot_see_says_so(client: openai.OpenAI, fleet: Stack) -> None:
    with pytest.raises(openai.BadRequestError, match="projector"):
        client.chat.completions.create(model="bee", messages=looking_at(picture_url(1)))
    body = {"model": "bee", "messages": [{"role": "user", "content": [part(picture_url(1))]}]}
    assert ask("POST", f"{fleet.queen}/v1/chat/completions", body).status == 400


def test_tokens_of_a_chat_that_shows_pictures(fleet: Stack) -> None:
    content = [part(picture_url(1)), {"type": "text", "text": "x"}]
    body = {"model": SEER, "messages": [{"role": "user", "content": content}]}
    found = ask("POST", f"{fleet.queen}/tokenize", body, timeout_s=60.0)
    assert found.status == 200, found.body
    assert found.json()["tokens"].count(-1) == IMAGE_TOKENS["llava"]
