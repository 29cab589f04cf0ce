"""The worker: one process, one model, many requests at a time.

`role` opens it, `routes` speak HTTP, `service` turns requests into sequences and sequences into
events, `template` renders chats, `engine/` batches continuously over llama.cpp.
"""
