"""Checks that llama.cpp and `tokenizers` agree, and the chat template with render.py."""

import json
import random
from itertools import islice
from pathlib import Path
from typing import Any

import click
from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from llama_cpp import Llama
from tokenizers import Tokenizer

from rbee.bee.recipe.corpus import stream, text_of
from rbee.bee.recipe.render import render
from rbee.bee.recipe.shapes import Rng
from rbee.bee.recipe.shipped import GGUF, TOKENIZER
from rbee.bee.recipe.tables import load
from rbee.bee.recipe.tools import with_tools

FILE = click.Path(path_type=Path)
PROBES = load("probes")
SHOWN = 5
"""So many mismatches are printed."""


def random_texts(n: int, seed: int = 0) -> list[str]:
    r = random.Random(seed)
    texts: list[str] = list(PROBES["texts"])
    while len(texts) < n:
        parts = []
        for _ in range(r.randint(1, 12)):
            parts.append(_characters(r))
            parts.append(_between(r))
        texts.append("".join(parts))
    return texts


def _characters(r: Rng) -> str:
    low, high = r.choice(PROBES["ranges"])
    return "".join(chr(r.randint(low, high)) for _ in range(r.randint(1, 8)))


def _between(r: Rng) -> str:
    number = str(r.randint(0, 10 ** r.randint(1, 9)))
    text: str = r.choice(PROBES["texts"])
    return r.choice(["", " ", " ", "  ", "\n", "\n\n", "\t", number, "'s", text])


def chat_template(source: str) -> Template:
    """The template as chat frontends compile it: `tojson` neither sorts keys nor escapes."""
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda x: json.dumps(x, ensure_ascii=False)
    return env.from_string(source)


def same_tokens(tok: Tokenizer, llm: Llama, text: str) -> bool:
    """Both give the same ids, and the ids give the text back."""
    ids = llm.tokenize(text.encode(), add_bos=False, special=True)
    back = llm.detokenize(ids, special=True).decode("utf-8", "replace")
    return bool(tok.encode(text, add_special_tokens=False).ids == ids and back == text)


def same_renderings(template: Template, n: int, seed: int = 5) -> int:
    r, same = random.Random(seed), 0
    for _ in range(n):
        tools, messages = with_tools(r)
        same += template.render(messages=messages, tools=tools) == text_of(render(messages, tools))
    return same


@click.command(help=__doc__)
@click.option("--gguf", type=FILE, default=GGUF, help="By default the shipped one.")
@click.option("--tokenizer", type=FILE, default=TOKENIZER, help="By default the shipped one.")
def main(gguf: Path, tokenizer: Path) -> None:
    tok = Tokenizer.from_file(str(tokenizer))
    llm = Llama(str(gguf), vocab_only=True, verbose=False)
    texts = random_texts(400) + [text_of(sample) for sample in islice(stream(99), 400)]
    bad = [text for text in texts if not same_tokens(tok, llm, text)]
    for text in bad[:SHOWN]:
        click.echo(f"MISMATCH {text!r}")
    click.echo(f"tokenizer: {len(texts) - len(bad)} of {len(texts)} equal")
    metadata: dict[str, Any] = llm.metadata
    same = same_renderings(chat_template(metadata["tokenizer.chat_template"]), 200)
    click.echo(f"template: {same} of 200 equal")


if __name__ == "__main__":
    main()
