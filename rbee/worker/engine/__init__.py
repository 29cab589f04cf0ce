"""Continuous batching: `planner` decides what the next step computes (pure), `engine` is the thread
that computes it, `llama` is the border to llama.cpp, `sampling` picks tokens, `text` makes words of
them, `constraint` masks what a grammar forbids.

llama.cpp's threads wait for each other after every operation, many times a token, and spin while
they do. How long is set here, before libgomp is loaded with it: its own default is a little faster
on an idle machine and slower by far on a busy one (134 M parameters, two cores: 72 tokens/s idle,
1 to 11 with both cores taken; with this 70 and 29).
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "8000")
