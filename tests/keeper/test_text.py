"""What servers say cannot steer a terminal."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from rbee.keeper.text import clean, line


@given(st.text())
def test_no_control_character_survives(text: str) -> None:
    left = {c for c in clean(text) if unicodedata.category(c) == "Cc"}
    assert left <= {"\n", "\t"}
    assert not {c for c in line(text) if unicodedata.category(c) == "Cc"}


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_other_text_is_left_alone(text: str) -> None:
    assert clean(text) == text


def test_an_escape_is_seen() -> None:
    assert clean("\x1b]0;title\x07") == "␛]0;title␇"
    assert line("a\r\nb") == "a␍ b"
