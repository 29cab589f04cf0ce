"""Bee under examination: llama.cpp at temperature 0, one question at a time.

The recipe's only engine, apart from rbee's own on purpose: an examination must not pass or fail
because of the worker. It serves nobody and batches nothing.
"""

from pathlib import Path
from typing import Any, cast

from llama_cpp import Llama

from rbee.bee.recipe.questions import UNFINISHED
from rbee.bee.recipe.shapes import Message


class Examinee:
    """Holds the model, and counts the tokens it has written."""

    def __init__(self, gguf: Path, threads: int) -> None:
        self._llm = Llama(str(gguf), n_ctx=2048, n_threads=threads, verbose=False)
        self.written = 0

    def __repr__(self) -> str:
        return f"<Examinee {self._llm.model_path}, {self.written} tokens written>"

    def answer(self, messages: list[Message], tools: list[Message], max_tokens: int = 250) -> str:
        """The answer's text; a tool call is text here."""
        llm = cast(Any, self._llm)  # its request types are narrower than what it takes
        reply = llm.create_chat_completion(
            messages, tools=tools or None, temperature=0, max_tokens=max_tokens
        )
        self.written += reply["usage"]["completion_tokens"]
        choice = reply["choices"][0]
        text: str = choice["message"]["content"]
        return text if choice["finish_reason"] == "stop" else text + UNFINISHED

    def complete(self, start: str, max_tokens: int = 200) -> str:
        llm = cast(Any, self._llm)
        reply = llm.create_completion(start, temperature=0, max_tokens=max_tokens)
        self.written += reply["usage"]["completion_tokens"]
        text: str = reply["choices"][0]["text"]
        return text
