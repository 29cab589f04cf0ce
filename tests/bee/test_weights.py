"""The file that ships is the one that is described: its sum, its template, its tokens."""

import hashlib
import json
import re
import subprocess
import sys
from typing import Any

import pytest
from gguf import GGUFReader, Keys, TokenType

from rbee import bee
from rbee.bee.recipe.marks import CONTROL, VISIBLE

README = bee.path().with_name("README.md")
HEAVY = {"llama_cpp", "numpy", "jinja2", "torch", "gguf", "tomllib"}


@pytest.fixture(scope="module")
def header() -> GGUFReader:
    return GGUFReader(bee.path())


def read(header: GGUFReader, key: str) -> Any:
    field = header.get_field(key)
    assert field is not None, f"{key} is missing"
    return field.contents()


def test_the_shipped_file_is_the_one_the_readme_names() -> None:
    weights = bee.path().read_bytes()
    readme = README.read_text(encoding="utf-8")
    named = re.search(r"\| sha256 \| `([0-9a-f]{64})` \|", readme)
    assert named is not None
    assert hashlib.sha256(weights).hexdigest() == named[1] == bee.SHA256
    assert f"`{bee.path().name}`, Q8_0, {len(weights):,} bytes" in readme


def test_the_template_in_the_file_is_the_one_beside_it(header: GGUFReader) -> None:
    beside = bee.path().with_name("chat_template.jinja").read_text(encoding="utf-8")
    assert read(header, Keys.Tokenizer.CHAT_TEMPLATE) == beside.strip()


def test_the_tokens_in_the_file_are_those_beside_it(header: GGUFReader) -> None:
    beside = json.loads(bee.path().with_name("tokenizer.json").read_text(encoding="utf-8"))
    ids: dict[str, int] = beside["model"]["vocab"]
    tokens = sorted(ids, key=ids.__getitem__)
    assert read(header, Keys.Tokenizer.LIST) == tokens
    types = dict(zip(tokens, read(header, Keys.Tokenizer.TOKEN_TYPE), strict=True))
    assert [token for token in tokens if types[token] == TokenType.CONTROL] == CONTROL
    assert [token for token in tokens if types[token] == TokenType.USER_DEFINED] == VISIBLE


def test_the_file_is_what_the_readme_says(header: GGUFReader) -> None:
    assert read(header, Keys.General.ARCHITECTURE) == "llama"
    assert read(header, "llama.context_length") == 2048
    assert read(header, "llama.block_count") == 5
    tokens = read(header, Keys.Tokenizer.LIST)
    assert len(tokens) == 1792
    assert tokens[read(header, Keys.Tokenizer.EOS_ID)] == "<|im_end|>"
    assert tokens[read(header, Keys.Tokenizer.BOS_ID)] == "<|endoftext|>"
    assert read(header, Keys.Tokenizer.ADD_BOS) is False
    assert round(sum(int(t.n_elements) for t in header.tensors) / 1e6, 2) == 3.74


def test_asking_where_the_weights_lie_is_cheap() -> None:
    asked = "import sys, rbee.bee; rbee.bee.path(); print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=30
    )
    assert not HEAVY & set(told.stdout.split())


def test_the_recommended_sampling_is_how_the_readme_measured() -> None:
    assert dict(bee.SAMPLING) == {"temperature": 0.0}
    assert "| sampling | temperature 0:" in README.read_text(encoding="utf-8")
