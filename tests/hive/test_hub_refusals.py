"""What cannot be fetched is explained: by what is there, by whose fault it is, and soon."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hive.shop import BEE, NAME, download, hive, message
from tests.hub import Hub, hub
from tests.processes import Started


def test_an_unreachable_hub_is_one_clear_error_soon(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    with hive(tmp_path, {"HF_ENDPOINT": endpoint}) as made:
        began = time.monotonic()
        answer = download(made, NAME)
        assert time.monotonic() - began < 10
        assert (answer.status, answer.json()["error"]["code"]) == (502, "hub_failed")
        assert f"{endpoint} cannot be reached" in message(answer)


@pytest.fixture(scope="module")
def odd_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """One hive for all the questions that leave nothing behind."""
    with hub() as made:
        made.repos["org/repo"] = {"tiny-Q8_0.gguf": BEE}
        made.repos["org/plain"] = {"config.json": b"{}"}
        made.repos["org/gated"] = {"a.gguf": BEE}
        made.repos["org/parts"] = {f"m-Q4_0-0000{n}-of-00002.gguf": b"GGUF" for n in (1, 2)}
        made.repos["org/many"] = {"a-Q4_0.gguf": BEE, "b-Q4_0.gguf": BEE}
        made.gated = {"org/gated"}
        with hive(tmp_path_factory.mktemp("home"), made.env()) as server:
            yield server


@pytest.mark.parametrize(
    ("model", "status", "code", "said"),
    [
        ("org/none", 404, "model_not_found", "knows no repository 'org/none'"),
        ("org/repo/none.gguf", 404, "model_not_found", "tiny-Q8_0.gguf"),
        ("org/repo:Q2_K", 404, "model_not_found", "tiny-Q8_0.gguf"),
        ("org/plain", 404, "model_not_found", "holds no GGUF model. It has: config.json"),
        ("org/gated/a.gguf", 403, "forbidden", "is gated"),
        ("org/parts:Q4_0", 400, "bad_model_file", "split into 2 files"),
        ("org/many:Q4_0", 409, "model_ambiguous", "a-Q4_0.gguf, b-Q4_0.gguf"),
        ("nowhere", 404, "model_not_found", "No model 'nowhere' here"),
        ("org/re--po", 400, "bad_request", "is no repository"),
        ("org/../etc", 400, "bad_request", "is not a model's name"),
    ],
)
def test_what_cannot_be_fetched_is_explained(
    odd_shop: Started, model: str, status: int, code: str, said: str
) -> None:
    answer = download(odd_shop, model)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code), answer.body
    assert said in message(answer)


def test_a_hive_that_is_offline_says_so(tmp_path: Path) -> None:
    with hive(tmp_path, {"HF_HUB_OFFLINE": "1"}) as made:
        answer = download(made, NAME)
        assert (answer.status, answer.json()["error"]["code"]) == (502, "hub_failed")
        assert "switched off" in message(answer)


def test_a_hub_that_refuses_is_named(tmp_path: Path) -> None:
    with hub() as shop, hive(tmp_path, shop.env()) as made:
        for status, expected in ((500, 502), (429, 502), (403, 403), (418, 502)):
            shop.status = status
            answer = download(made, NAME)
            assert answer.status == expected
            assert str(status) in message(answer)


@pytest.mark.parametrize(
    ("listing", "code"),
    [
        (b"<html>Please log in to the hotel network</html>", "hub_failed"),
        (b"{}", "hub_failed"),
        (b"[]", "hub_failed"),
        (b'{"id": "org/repo", "siblings": null}', "model_not_found"),
        (b'{"id": "org/repo", "siblings": [{"rfilename": "tiny-Q8_0.gguf"}]}', "hub_failed"),
        (
            b'{"id": "org/repo", "siblings": [{"rfilename": "../tiny-Q8_0.gguf"}]}',
            "model_not_found",
        ),
    ],
)
def test_a_hub_that_talks_nonsense(
    confused: tuple[Hub, Started], listing: bytes, code: str
) -> None:
    shop, made = confused
    shop.listing = listing
    answer = download(made, NAME)
    assert answer.json()["error"]["code"] == code, answer.body
    assert "Traceback" not in message(answer)


@pytest.fixture(scope="module")
def confused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Started]]:
    with hub() as shop, hive(tmp_path_factory.mktemp("home"), shop.env()) as made:
        yield shop, made
