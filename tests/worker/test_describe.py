"""What a model's maker wrote into the file is taken, within the bounds that requests have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader, GGUFValueType, GGUFWriter, Keys, TokenType

from rbee import bee
from rbee.config import WorkerConfig
from rbee.contracts.chat import Message
from rbee.contracts.operations import Infer
from rbee.errors import BadRequest
from rbee.worker.describe import described
from rbee.worker.engine.llama import loading
from rbee.worker.engine.llama.backend import LlamaBackend
from rbee.worker.engine.sampling import Sampling
from rbee.worker.prepare import DEFAULTS, LoadedModel
from rbee.worker.reasoning import marks_of
from rbee.worker.tools.forms import HERMES, MISTRAL_ARGS

_KINDS = {str: GGUFValueType.STRING, int: GGUFValueType.UINT32, float: GGUFValueType.FLOAT32}
HELLO = [Message("user", "Hello")]


def copied(
    to: Path,
    extra: dict[str, Any],
    without: tuple[str, ...] = (),
    tokens: Mapping[str, str] | None = None,
) -> Path:
    """The embedded model under another name, with other words in its header. `tokens` puts control
    tokens in the place of others."""
    reader = GGUFReader(bee.path())
    writer = GGUFWriter(to, "llama")
    skipped = (Keys.General.ARCHITECTURE, *without)
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in skipped:
            kind = field.types[0]
            inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
            writer.add_key_value(name, _changed(name, reader, tokens or {}), kind, inner)
    for name, value in extra.items():
        writer.add_key_value(name, value, _KINDS[type(value)])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return to


def _changed(name: str, reader: GGUFReader, tokens: Mapping[str, str]) -> Any:
    """A value of the header, with `tokens` replaced."""
    value = reader.fields[name].contents()
    if name == Keys.Tokenizer.LIST:
        return [tokens.get(token, token) for token in value]
    if name == Keys.Tokenizer.TOKEN_TYPE:
        names = reader.fields[Keys.Tokenizer.LIST].contents()
        return [
            TokenType.CONTROL.value if token in tokens else kind
            for token, kind in zip(names, value, strict=True)
        ]
    return value


@contextmanager
def loaded(path: Path, **settings: Any) -> Iterator[LoadedModel]:
    loading.start()
    backend = LlamaBackend(
        path,
        slots=1,
        context=256,
        batch_tokens=64,
        threads=1,
        device="cpu",
        gpu_layers=0,
        on_progress=lambda part: None,
    )
    try:
        yield described(WorkerConfig(model=str(path), **settings), path, backend)
    finally:
        backend.close()
        backend.close()


def test_the_embedded_model_is_itself() -> None:
    with loaded(bee.path()) as model:
        assert (model.id, model.sha256) == ("bee", bee.SHA256)
        assert model.recommended == Sampling(temperature=0.0) and model.bos == ""


MISTRAL_TOKENS = {
    "<tool_call>": "[TOOL_CALLS]",
    "</tool_call>": "[ARGS]",
    "<tools>": "[THINK]",
    "</tools>": "[/THINK]",
    "<tool_response>": "[OTHER]",
}


def test_the_marks_that_are_read_are_spelled_and_other_control_tokens_are_not(
    tmp_path: Path,
) -> None:
    template = "{# [TOOL_CALLS] [ARGS] [THINK] #}{{ messages[0].content }}"
    path = copied(
        tmp_path / "marks.gguf",
        {Keys.Tokenizer.CHAT_TEMPLATE: template},
        (Keys.Tokenizer.CHAT_TEMPLATE,),
        MISTRAL_TOKENS,
    )
    with loaded(path) as model:
        assert model.form == MISTRAL_ARGS and model.marks == marks_of(template)
        for mark in ("[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]"):
            [token] = model.vocabulary.tokenize(mark, add_special=False)
            assert model.vocabulary.piece(token) == mark.encode()
        [token] = model.vocabulary.tokenize("[OTHER]", add_special=False)
        assert model.vocabulary.piece(token) == b""


def test_a_model_can_fill_in_the_middle_when_its_vocabulary_has_the_marks(tmp_path: Path) -> None:
    with loaded(bee.path()) as model:
        assert model.vocabulary.fim is None and model.form == HERMES and model.marks is None
    ids = {"fim_pre": 7, "fim_suf": 8, "fim_mid": 9}
    extra = {f"tokenizer.ggml.{name}_token_id": token for name, token in ids.items()}
    with loaded(copied(tmp_path / "code.gguf", extra)) as model:
        assert model.vocabulary.fim == (7, 8, 9)
        prompt = model.prepare(Infer(model="code.gguf", prompt="a", suffix="b")).prompt
        assert (prompt[0], prompt[-1]) == (7, 9) and 8 in prompt


def test_the_makers_sampling_is_the_default(tmp_path: Path) -> None:
    extra = {"general.sampling.temp": 0.25, "general.sampling.top_k": "7"}
    with loaded(copied(tmp_path / "kind.gguf", extra)) as model:
        assert (model.id, model.sha256) == ("kind.gguf", "")
        assert model.recommended.temperature == 0.25 and model.recommended.top_k == 7
        assert model.recommended.top_p == DEFAULTS.top_p


@pytest.mark.parametrize("bad", ["hot", "nan", "-1", "1e9"])
def test_nonsense_in_the_file_is_not_believed(
    tmp_path: Path, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    extra = {f"general.sampling.{key}": bad for key in ("temp", "top_k", "top_p", "min_p")}
    with loaded(copied(tmp_path / "odd.gguf", extra), model_id="mine", sha256="5" * 64) as model:
        assert model.recommended == DEFAULTS
        assert (model.id, model.sha256) == ("mine", "5" * 64)
    assert "is ignored" in caplog.text


@pytest.mark.parametrize("template", ["", "{% if %}", "{% for a in b %}" * 30])
def test_a_model_without_a_usable_template_loads_all_the_same(
    tmp_path: Path, template: str
) -> None:
    extra = {Keys.Tokenizer.CHAT_TEMPLATE: template} if template else {}
    without = (Keys.Tokenizer.CHAT_TEMPLATE,)
    with loaded(copied(tmp_path / "plain.gguf", extra, without)) as model:
        assert model.vocabulary.tokenize("Hello", add_special=True)
        if not template:
            assert model.template.render(HELLO).startswith("<|im_start|>user\nHello<|im_end|>")
            return
        with pytest.raises(BadRequest, match="template is broken"):
            model.template.render(HELLO)
