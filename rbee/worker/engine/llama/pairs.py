"""A query and a document as rankers were trained to read them: one input of both.

1. A model may bring a template for it (a chat template named `rerank`, with `{query}` and
   `{document}`), which is text like any other, special tokens spelled in it included.
2. Else the two stand between the tokens that its tokenizer puts around texts: BERT's are
   `[CLS] query [SEP] document [SEP]`, RoBERTa's `<s> query </s></s> document </s>`. Special tokens
   that a user spells in either are plain text there: none may end the query early.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import llama_cpp as c

from rbee.worker.engine.llama.vocabulary import LlamaVocabulary

_PLACES = re.compile(r"(\{query\}|\{document\})")


class Pairs:
    """Makes them; may be called from any thread."""

    def __init__(self, model: Any, vocabulary: LlamaVocabulary) -> None:
        self._vocabulary = vocabulary
        template = c.llama_model_chat_template(model, b"rerank")
        self._template = _PLACES.split(template.decode("utf-8", "replace")) if template else []
        self._start, self._middle, self._end = _frame(c.llama_model_get_vocab(model))

    def __call__(self, query: str, documents: Sequence[str]) -> Iterator[list[int]]:
        """Token ids of each pair, one at a time: whoever reads may stop at one that is too long."""
        if self._template:
            for document in documents:
                told = {"{query}": query, "{document}": document}
                text = "".join(told.get(part, part) for part in self._template)
                yield self._vocabulary.tokenize(text, add_special=False)
            return
        first = [*self._start, *self._vocabulary.plain(query), *self._middle]
        for document in documents:
            yield [*first, *self._vocabulary.plain(document), *self._end]


def _frame(vocabulary: Any) -> tuple[list[int], list[int], list[int]]:
    """What stands before the query, between the two, and after the document."""
    bos, eos = c.llama_vocab_bos(vocabulary), c.llama_vocab_eos(vocabulary)
    sep = c.llama_vocab_sep(vocabulary)
    start = [bos] if c.llama_vocab_get_add_bos(vocabulary) else []
    closing = [eos if eos >= 0 else sep] if c.llama_vocab_get_add_eos(vocabulary) else []
    parting = [sep] if c.llama_vocab_get_add_sep(vocabulary) else []
    frame = start, closing + parting, closing or parting
    made = tuple([token for token in part if token >= 0] for part in frame)
    return made[0], made[1], made[2]
