"""The files that ship inside rbee: what the recipe reads where no other file is named.

The recipe never writes here: what it makes goes to the working directory.
"""

from rbee import bee

GGUF = bee.path()
TOKENIZER = GGUF.with_name("tokenizer.json")
CHAT_TEMPLATE = GGUF.with_name("chat_template.jinja")
