"""What a request needs of a worker beside its model: an adapter, sight."""

from __future__ import annotations

from rbee.contracts.chat import ImagePart, ImageUrl, Message, TextPart
from rbee.contracts.operations import Infer
from rbee.queen.pursuit import need_of
from rbee.queen.scheduler import Need
from tests.http import ask

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def test_what_a_request_needs() -> None:
    wishes = Infer(model="bee", prompt="x", hive_id="h", worker_id="w", device="cuda")
    assert need_of(wishes) == Need("bee", "h", "w", "cuda", generates=True)
    assert need_of(Infer(model="bee", prompt="x", lora="style")).lora == "style"
    words = [Message("user", [TextPart("a")]), Message("user", "b"), Message("assistant", None)]
    assert not need_of(Infer(model="bee", messages=words)).sees
    seen = [*words, Message("user", [ImagePart(ImageUrl("data:,"))]), Message("user", "c")]
    assert need_of(Infer(model="bee", messages=seen)).sees


def test_what_no_worker_has_is_a_400_at_once(a_queen: str) -> None:
    chat = {"operation": "infer", "model": "bee", "stream": False}
    said = {"role": "user", "content": "Hello"}
    shown = {"role": "user", "content": [PICTURE]}
    for more, param in (
        ({"messages": [said], "lora": "style"}, "lora"),
        ({"messages": [shown]}, "messages"),
    ):
        answer = ask("POST", f"{a_queen}/v1/jobs", {**chat, **more})
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert ask("POST", f"{a_queen}/v1/jobs", {**chat, "messages": [said]}).status == 200
