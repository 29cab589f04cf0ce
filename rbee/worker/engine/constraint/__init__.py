"""What constrains an answer: a JSON schema, a grammar, a regular expression, tool calls.

    of_schema(tokenizer, schema)                        JSON that fits the schema
    of_grammar(tokenizer, grammar)                      GBNF, or Lark in llguidance's dialect
    of_regex(tokenizer, pattern)                        the whole answer matches
    of_tools(tokenizer, tools, form, several=...)       nothing but calls of these tools, >= 1
    of_auto_tools(tokenizer, tools, form, several=...)  text, in which every call begun is valid

Each gives a `Constraint`, or raises `BadRequest` that says where the input cannot be used. They are
slow (milliseconds, a second at the very worst) and are called outside the event loop and the engine
thread. `tokenizer` is the vocabulary's `guide`; `form` is of `rbee.worker.tools.forms`.

`of_auto_tools` is reliable: the mask lets no call begin otherwise than by the form's mark, and no
call end before its arguments fit. It is meant for tools that ask for it (`strict`), as it costs a
little more per token. A tool that is not `strict` may have a schema with keywords that nobody can
enforce here; they are then left out of account, where a strict tool gets a 400.

`compiling` and `weight` keep the compiler within bounds, `matcher` is the state of one answer,
`reasons` makes errors readable, `schema`, `grammar` and `calls` translate.
"""

from rbee.worker.engine.constraint.calls import of_auto_tools, of_tools
from rbee.worker.engine.constraint.grammar import of_grammar, of_regex
from rbee.worker.engine.constraint.matcher import Constraint
from rbee.worker.engine.constraint.schema import of_schema

__all__ = ["Constraint", "of_auto_tools", "of_grammar", "of_regex", "of_schema", "of_tools"]
