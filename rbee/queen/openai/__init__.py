"""Other people's dialects on the queen: OpenAI's API, and what users' tools speak beside it.

Each dialect is two pure translations (their request to `contracts.Infer`, our events to their
answer) and a handler in `routes`. Requests are checked like our own: bounds on every field, an
unknown field is an error. Fields that clients send and that change nothing about the answer are
accepted and ignored; they are listed in `wishes.Ignored` and in each request's `IGNORED`. A field
that would change the answer and cannot be honoured is a 400 that names it: nothing is dropped in
silence.
"""
