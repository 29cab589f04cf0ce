"""The border to llama.cpp: the only room that knows its C interface (`llama.h`, `mtmd.h`).

`loading` starts the library and reads a file, `vocabulary` knows the model's tokens and `guide`
tells llguidance of them, `batch` is a
`llama_batch` over numpy memory, `backend` decodes, `vectors` embeds and ranks; what a model is for
is its `nature`, what a ranker reads are `pairs`. `vision` is a projector: `parts` go in, what was
seen is `kept`, and `pictures` are decoded from it.
"""
