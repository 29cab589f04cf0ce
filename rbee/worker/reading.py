"""How an answer's text is read: first what the model thinks, then what it says and calls.

A request knows how its answer is to be read before there is any; each of its choices then has a
reader of its own. Stop strings are the engine's: they end the answer wherever they stand, in what
is thought as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rbee.contracts.chat import ToolCall
from rbee.worker.reasoning import Marks, ReasoningReader
from rbee.worker.tools.forms import HERMES, LLAMA3, ToolForm
from rbee.worker.tools.hermes import HermesReader
from rbee.worker.tools.llama3 import Llama3Reader
from rbee.worker.tools.mistral import MistralReader
from rbee.worker.tools.reader import CallReader


@dataclass
class Said:
    """What is certain of an answer, since it was asked last."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """What to look for in an answer; nothing, by default."""

    form: ToolForm | None = None
    """How calls are written; None where no tools were offered."""
    offered: frozenset[str] = frozenset()
    """The names of the tools."""
    several: bool = True
    """False: the answer is complete with its first call."""
    marks: Marks | None = None
    thinking: bool = False
    """The prompt ends inside a span."""

    def reader(self) -> AnswerReader:
        calls = None
        if self.form is not None:
            calls = reader_of(self.form, self.offered, self.several)
        spans = ReasoningReader(self.marks, self.thinking) if self.marks is not None else None
        return AnswerReader(calls, spans)


def reader_of(form: ToolForm, offered: frozenset[str], several: bool = True) -> CallReader:
    if form.name == HERMES.name:
        return HermesReader(several)
    if form.name == LLAMA3.name:
        return Llama3Reader(offered, several)
    return MistralReader(several)


class AnswerReader:
    """Feeds on the text of one choice."""

    def __init__(self, calls: CallReader | None, spans: ReasoningReader | None) -> None:
        self._calls = calls
        self._spans = spans

    def feed(self, text: str, *, final: bool = False) -> Said:
        said = Said(text)
        if self._spans is not None:
            said.reasoning, said.text = self._spans.feed(text, final=final)
        if self._calls is not None:
            said.text, said.calls = self._calls.feed(said.text, final=final)
        return said

    @property
    def complete(self) -> bool:
        """The one call that was asked for is there: what follows is none of the answer."""
        return self._calls is not None and self._calls.complete

    @property
    def thinking(self) -> bool:
        """What was fed last is reasoning, to its end."""
        return self._spans is not None and self._spans.inside

    @property
    def has_called(self) -> bool:
        return self._calls is not None and self._calls.found > 0
