"""Continuous batching: `planner` decides what the next step computes (pure), `engine` is the thread
that computes it, `llama` is the border to llama.cpp, `sampling` picks tokens, `text` makes words of
them, `constraint` masks what a grammar forbids.
"""
