"""The words the recipe's modules talk to each other in. No behaviour."""

import random
from collections.abc import Callable
from typing import Any

Rng = random.Random
Turn = tuple[str, str]
"""What the user says, what Bee answers."""
Fact = tuple[str, str, str]
"""A question, its short answer, its long answer."""
Message = dict[str, Any]
"""One chat message, or one function, as the OpenAI dialect writes them."""
Sample = list[tuple[str, bool]]
"""Pieces of one training text; the loss counts the pieces with True."""
Skill = Callable[[Rng], list[Turn]]
"""Makes up a conversation, or a part of one."""
