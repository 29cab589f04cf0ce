"""Builds Bee's tokenizer: byte-level BPE that llama.cpp reads as `gpt2` with pre `llama-bpe`.

The merges are made so that a word is spelled with the same tokens wherever it stands: digits
never merge, punctuation never merges with letters, and a space merges only with whole frequent
lower-case words (as the last merges). Copying is then the same everywhere.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import click
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from rbee.bee.recipe.corpus import stream, text_of
from rbee.bee.recipe.marks import CONTROL, VISIBLE

VOCAB, BASE_MERGES = 1792, 1100
SPACE = "\u0120"
"""How byte-level BPE writes a space."""

LLAMA_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pre-tokenizer that llama.cpp applies for `llama-bpe`."""
TRAIN_SPLIT = r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s"
"""A finer one, used only to find the merges."""

Merge = tuple[str, str]


def byte_level(split: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def build(samples: int = 30000, seed: int = 1) -> Tokenizer:
    marks = re.compile("|".join(map(re.escape, CONTROL + VISIBLE)))
    texts = [marks.sub("\n", text_of(sample)) for sample in islice(stream(seed), samples)]
    vocab, merges = _base(texts)
    room = VOCAB - len(CONTROL) - len(VISIBLE) - len(vocab)
    for word in islice(_frequent_words(texts, vocab), room):
        vocab.append(SPACE + word)
        merges.append((SPACE, word))
    return _assemble(CONTROL + VISIBLE + vocab, merges)


def _base(texts: list[str]) -> tuple[list[str], list[Merge]]:
    """Bytes and merges inside words, in the order of their ids."""
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = byte_level(TRAIN_SPLIT)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=256 + BASE_MERGES, initial_alphabet=alphabet, show_progress=False
    )
    base.train_from_iterator(texts, trainer)
    found = json.loads(base.to_str())["model"]
    vocab = sorted(found["vocab"], key=found["vocab"].__getitem__)
    return vocab, [(left, right) for left, right in found["merges"]]


def _frequent_words(texts: Iterable[str], vocab: list[str]) -> Iterator[str]:
    """Lower-case words that are one token, the most frequent first."""
    known = set(vocab)
    counts = Counter(word for text in texts for word in re.findall(r" ([a-z]+)", text))
    return (word for word, _ in counts.most_common() if word in known)


def _assemble(tokens: list[str], merges: list[Merge]) -> Tokenizer:
    ids = {token: i for i, token in enumerate(tokens)}
    tok = Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=True))
    tok.pre_tokenizer = byte_level(LLAMA_SPLIT)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL])
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t in VISIBLE])
    return tok


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default="tokenizer.json", show_default=True)
def main(out: Path) -> None:
    build().save(str(out))


if __name__ == "__main__":
    main()
