"""The tokens that are no text: what may stand for the end of a turn, and what is only a tag.

Apart from tokenizer.py so that the export does not need the `tokenizers` package.
"""

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
"""Never part of an answer's text."""

VISIBLE = [
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *("<tools>", "</tools>"),
]
"""One token each, and part of the text."""
