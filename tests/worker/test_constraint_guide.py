"""The guide of a SentencePiece vocabulary, which writes a space before every text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp as c
import pytest
from gguf import GGUFWriter, TokenType
from llguidance import LLTokenizer

from rbee.contracts.chat import FunctionSpec, Tool
from rbee.worker.engine.constraint import of_schema, of_tools
from rbee.worker.engine.llama import loading
from rbee.worker.engine.llama.vocabulary import LlamaVocabulary
from rbee.worker.tools.forms import MISTRAL
from tests.worker.guides import allowed

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
CONTROL = ["<s>", "</s>", "[TOOL_CALLS]"]
TEXT = [
    "\u2581",
    *'abcdefghijklmnopqrstuvwxyz"{}:,[]<>_',
    "\u2581a",
    "\u2581the",
    "th",
    "he",
    "the",
]


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLTokenizer]:
    path = tmp_path_factory.mktemp("spm") / "vocabulary.gguf"
    write(path)
    loading.start()
    parameters: Any = c.llama_model_default_params()
    parameters.vocab_only = True
    model = c.llama_model_load_from_file(str(path).encode(), parameters)
    assert model
    vocabulary = LlamaVocabulary(model)
    assert [vocabulary.spelled(t) for t in vocabulary.tokenize("the", add_special=False)] == [
        " the"
    ]
    yield vocabulary.guide
    c.llama_model_free(model)


def write(path: Path) -> None:
    writer = GGUFWriter(str(path), "llama")
    kinds = {TokenType.UNKNOWN: ["<unk>"], TokenType.CONTROL: CONTROL, TokenType.BYTE: BYTES}
    kinds |= {TokenType.USER_DEFINED: ["<tool_call>"], TokenType.NORMAL: TEXT}
    tokens = [token for named in kinds.values() for token in named]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types([kind for kind, named in kinds.items() for _ in named])
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(True)
    for add in (writer.add_context_length, writer.add_embedding_length, writer.add_head_count):
        add(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


@pytest.mark.parametrize(
    "text", ["the", " the", "a the", "<tool_call>", "[TOOL_CALLS]", "<s>é", ""]
)
def test_text_is_cut_without_a_space_before_it(guide: LLTokenizer, text: str) -> None:
    tokens = guide.tokenize_str(text)
    assert guide.decode_str(tokens) == text
    assert not any(map(guide.is_special_token, tokens))


@pytest.mark.parametrize("way", [0, -1])
def test_forced_text_is_the_text(guide: LLTokenizer, way: int) -> None:
    """However it is cut into tokens."""
    constraint, tokens = of_schema(guide, {"enum": ["the <tool_call>"]}), list[int]()
    while not constraint.complete:
        tokens.append(allowed(constraint, guide.vocab_size)[way])
        constraint.accept(tokens[-1])
    assert guide.decode_str(tokens) == '"the <tool_call>"'


def test_a_mark_that_is_a_control_token_is_demanded_as_one(guide: LLTokenizer) -> None:
    constraint = of_tools(guide, [Tool(FunctionSpec("the"))], MISTRAL, several=False)
    [opening] = allowed(constraint, guide.vocab_size)
    assert guide.is_special_token(opening) and guide.decode_str([opening]) == "[TOOL_CALLS]"
