"""Chats with pictures before any model: where the marks stand, and what the planner makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.chat import ImagePart, ImageUrl, Message, TextPart
from rbee.errors import BadRequest
from rbee.worker.engine.draft import Lookup
from rbee.worker.engine.planner import Planner
from rbee.worker.engine.sequence import Sequence
from rbee.worker.engine.span import ImageSpan, Picture, Seen, placeholders
from rbee.worker.sight import cut, new_mark, pictures_in
from rbee.worker.template import ChatTemplate

IN_PARTS = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
DOTTED = "{% for m in messages %}{{ m.content | trim }}.{% endfor %}"


def span(cells: int, places: int) -> ImageSpan:
    vectors = np.zeros((cells, 4), np.float32)
    return ImageSpan(vectors, np.zeros((1, cells), np.int32), places)


def picture(name: str) -> Picture:
    return Picture(1, 1, b"abc", name)


def sequence(name: str, parts: list[int | tuple[str, int, int]]) -> Sequence:
    """Texts by their lengths, and pictures by name, cells and places."""
    ids: list[int] = []
    images = {}
    for part in parts:
        if isinstance(part, int):
            ids += range(len(ids), len(ids) + part)
        else:
            picture, cells, places = part
            images[len(ids)] = span(cells, places)
            ids += placeholders(picture, places)
    return Sequence(name, 0, ids, 50, images=images)


def image(url: str) -> ImagePart:
    return ImagePart(ImageUrl(url))


def test_pictures_are_found_where_they_stand() -> None:
    messages = [
        Message("system", "you see"),
        Message("user", [TextPart("a"), image("one"), image("two")]),
        Message("assistant"),
        Message("user", [image("three")]),
    ]
    assert pictures_in(messages) == [
        ("$.messages[1].content[1]", "one"),
        ("$.messages[1].content[2]", "two"),
        ("$.messages[3].content[0]", "three"),
    ]


@pytest.mark.parametrize("source", [None, IN_PARTS, DOTTED])
def test_a_template_shows_pictures_in_their_places(source: str | None) -> None:
    mark = new_mark()
    chat = [Message("user", [TextPart("before "), image("one"), TextPart(" behind")])]
    rendered = ChatTemplate(source, "", "").render(chat, mark=mark)
    before, shown, behind = cut(rendered, mark, [picture("one")])
    assert isinstance(before, str) and before.endswith("before ")
    assert shown == picture("one")
    assert isinstance(behind, str) and behind.startswith(" behind")


def test_a_text_reaches_a_template_that_knows_parts_alone() -> None:
    template = ChatTemplate(IN_PARTS, "", "")
    assert template.render([Message("user", "hello")]) == "hello"
    assert template.render([Message("user", [TextPart("a"), TextPart("b")])]) == "ab"
    assert template.render([Message("assistant"), Message("user", "x")]) == "x"


@pytest.mark.parametrize("shown", [0, 1, 3])
def test_a_template_that_hides_or_repeats_pictures_is_refused(shown: int) -> None:
    with pytest.raises(BadRequest, match=f"shows {shown} of 2 images"):
        cut("x" + "MARK" * shown, "MARK", [picture("one"), picture("two")])


@given(st.lists(st.integers(1, 9) | st.tuples(st.integers(1, 40), st.integers(1, 6)), max_size=8))
def test_a_prompt_is_computed_in_order_and_pictures_whole(
    parts: list[int | tuple[int, int]],
) -> None:
    named: list[int | tuple[str, int, int]] = [
        p if isinstance(p, int) else (str(number), max(p), p[1]) for number, p in enumerate(parts)
    ]
    one = sequence("a", [*named, 1])
    planner = Planner(2, 512, 16)
    planner.add(one)
    planner.admit()
    found: list[int] = []
    pictures = []
    while one.computed < len(one.prompt):
        batch = planner.next_batch()
        [chunk] = batch.chunks
        assert chunk.start == len(found)
        assert chunk.outputs == (chunk.start + len(chunk.tokens) == len(one.prompt))
        if chunk.image is None:
            assert min(chunk.tokens) >= 0 and len(chunk.tokens) <= 16
        else:
            assert chunk.image is one.images[chunk.start]
            assert len(chunk.tokens) == chunk.image.places
            assert batch.prompt_tokens == chunk.image.cells
            pictures.append(chunk.image)
        found += chunk.tokens
        planner.advance(batch)
    assert found == one.prompt
    assert pictures == list(one.images.values())


def test_a_step_takes_one_large_picture_beside_what_fits() -> None:
    planner = Planner(3, 512, 32)
    for name in "abc":
        planner.add(sequence(name, [(name, 40, 40), 5]))
    planner.admit()
    batch = planner.next_batch()
    assert [chunk.image is not None for chunk in batch.chunks] == [True]
    planner.advance(batch)
    texts = planner.next_batch()
    assert [chunk.image is not None for chunk in texts.chunks].count(True) == 1


def test_the_same_picture_is_not_computed_twice() -> None:
    planner = Planner(2, 512, 64)
    first = sequence("a", [4, ("bee", 20, 5), 8])
    planner.add(first)
    planner.admit()
    while first.pending:
        planner.advance(planner.next_batch())
    first.answer.append(1)
    planner.end(first)
    again = sequence("b", [4, ("bee", 20, 5), 8, ("hive", 20, 5), 3])
    planner.add(again)
    planner.admit()
    assert again.computed == again.cached == 4 + 5 + 8
    assert again.cached_tokens == 4 + 20 + 8
    other = sequence("c", [4, ("other", 20, 5), 8])
    planner.add(other)
    planner.admit()
    assert other.computed in (0, 4)


def test_no_draft_says_a_picture() -> None:
    lookup = Lookup(8)
    ids = [1, 2, 3, 4, *placeholders("bee", 3), 5, 1, 2, 3]
    assert lookup.draft(ids) == [4]


def test_what_a_prompt_costs() -> None:
    ids = [1, *placeholders("a", 4), 2, *placeholders("b", 3), 3]
    seen = Seen(ids, {1: span(16, 4), 6: span(3, 3)})
    assert seen.extra == 12 and seen.cells == len(ids) + 12


def test_placeholders_tell_pictures_apart() -> None:
    one, other = placeholders("a.0", 500), placeholders("a.1", 500)
    assert one == placeholders("a.0", 500)
    assert not set(one) & set(other) and len(set(one)) == 500
    assert all(-(2**63) <= number < 0 for number in one + other)
