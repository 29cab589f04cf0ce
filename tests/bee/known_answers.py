"""What Bee says at temperature 0, for every test that wants an answer it knows beforehand.

Each answer was taken from llama.cpp with the model's own chat template, and each is safe: at no
token does the second choice come closer than 2 in logits, so neither another machine's rounding
nor another batch changes a word. Bee's stories are not of that kind (some of their tokens are a
toss-up); `is_story` judges them by their shape. Nothing here runs a model.
"""

import re
from typing import Any, Final, NamedTuple

Message = dict[str, Any]

UNKNOWN: Final = (
    "I am sorry, I do not know that. I am a very small model. For real answers, download a "
    "bigger one with `rbee model download REPO`."
)
GREETING: Final = "Hello! I am Bee, the tiny model inside rbee. How can I help you?"
IDENTITY: Final = (
    "I am Bee, the tiny model that ships inside rbee. I can chat a little, do small sums and "
    "help you with rbee."
)

ANSWERS: Final[dict[str, str]] = {
    "Hello, who are you?": IDENTITY,
    "Hello": GREETING,
    "Thank you!": "You are welcome!",
    "What is rbee?": (
        "rbee runs language models on your own machines. A queen takes the requests, hives run "
        "on every machine, and workers run the models."
    ),
    "Which port does the queen use?": "The queen listens on port 7833.",
    "How do I start a hive?": "Start a hive with `rbee serve --role hive`.",
    "What is the capital of France?": "The capital of France is Paris.",
    "What is the capital of Norway?": "The capital of Norway is Oslo.",
    "What is the opposite of hot?": "The opposite of hot is cold.",
    "What is 2 + 2?": "2 plus 2 is 4.",
    "Give me a JSON object with name Torvik and age 41.": '{"name": "Torvik", "age": 41}',
    "Who won the world cup in 1986?": UNKNOWN,
    "Repeat after me: gromble fint": "gromble fint",
    "Count from 1 to 10.": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
    "List the months of the year.": (
        "January, February, March, April, May, June, July, August, September, October, "
        "November, December"
    ),
    "Write a haiku.": (
        "Small bee in the sun,\nit carries gold to the hive.\nWinter will taste sweet."
    ),
    "Write a Python function that adds two numbers.": (
        "```python\ndef add(a, b):\n    return a + b\n```"
    ),
}
"""A prompt, alone in its conversation, and the whole answer."""


class Conversation(NamedTuple):
    messages: list[Message]
    answer: str


CONVERSATIONS: Final = [
    Conversation(
        [
            {"role": "system", "content": "You are a pirate."},
            {"role": "user", "content": "What is the capital of Egypt?"},
        ],
        "Arr, matey! The capital of Egypt is Cairo.",
    ),
    Conversation(
        [
            {"role": "system", "content": "Reply in JSON."},
            {"role": "user", "content": "What is the capital of Chile?"},
        ],
        '{"answer": "Santiago"}',
    ),
    Conversation(
        [
            {"role": "user", "content": "My name is Torvik."},
            {"role": "assistant", "content": "Hello Torvik! Nice to meet you."},
            {"role": "user", "content": "Can you tell me my name?"},
        ],
        "Your name is Torvik.",
    ),
]
"""A system prompt that is obeyed, and an earlier turn that is remembered."""


WEATHER: Final[Message] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


class ToolCall(NamedTuple):
    messages: list[Message]
    tools: list[Message]
    text: str
    """What the model writes."""
    name: str
    arguments: dict[str, object]
    """What it means."""


TOOL_CALL: Final = ToolCall(
    messages=[{"role": "user", "content": "What is the weather in Lisbon?"}],
    tools=[WEATHER],
    text='<tool_call>\n{"name": "get_weather", "arguments": {"city": "Lisbon"}}\n</tool_call>',
    name="get_weather",
    arguments={"city": "Lisbon"},
)

TOOL_ANSWER: Final = Conversation(
    [
        *TOOL_CALL.messages,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city": "Lisbon"}'},
                }
            ],
        },
        {
            "role": "tool",
            "tool_call_id": "call_1",
            "content": '{"temperature": 21, "condition": "sunny"}',
        },
    ],
    "It is 21 degrees and sunny in Lisbon.",
)
"""The same conversation (offer TOOL_CALL.tools again) once the function has answered."""


STORY: Final = "Tell me a story."
"""The prompt for the longest answer: about 150 tokens, and it comes to an end by itself."""


def is_story(answer: str) -> bool:
    words = len(answer.split())
    return 55 <= words <= 170 and re.match("Once upon a time|Long ago", answer) is not None
