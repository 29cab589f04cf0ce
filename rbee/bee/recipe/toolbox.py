"""Functions that a user may offer, each with a question that calls for it and what comes of it.

The names and wordings stand in data/tools.toml. Half of the functions get a name nobody has
seen, so that it has to be copied from the system message.
"""

from collections.abc import Callable
from typing import NamedTuple

from rbee.bee.recipe.shapes import Message, Rng
from rbee.bee.recipe.tables import Table, load
from rbee.bee.recipe.templates import say
from rbee.bee.recipe.words import city, made_up, name, word, words

_TOOLS = load("tools")


class ToolCase(NamedTuple):
    tool: Message
    ask: str
    arguments: dict[str, object]
    result: object
    """What the function returns: text, a number, or something to be written as JSON."""
    answer: str


class Argument(NamedTuple):
    kind: str
    text: str


def _make_tool(r: Rng, names: list[str], arguments: dict[str, Argument], what: str) -> Message:
    properties: Message = {}
    for key, argument in arguments.items():
        described = {"description": argument.text} if r.random() < 0.4 else {}
        properties[key] = {"type": argument.kind} | described
    parameters: Message = {"type": "object", "properties": properties}
    if r.random() < 0.8:
        parameters["required"] = list(arguments)
    function: Message = {"name": _function_name(r, names)}
    if r.random() < 0.85:
        function["description"] = what if r.random() < 0.8 else ""
    function["parameters"] = parameters
    return {"type": "function", "function": function}


def _function_name(r: Rng, names: list[str]) -> str:
    usual = r.choice(names)
    if r.random() >= 0.5:
        return usual
    new: str = _TOOLS["new_name"]
    return say(r, new, n=usual, m=made_up(r, 2), w=word(r), d=r.randint(1, 99))


def _weather(r: Rng) -> ToolCase:
    this = _TOOLS["weather"]
    key, place = r.choice([*this["keys"], made_up(r, 2)]), city(r)
    arguments = {key: Argument("string", this["argument"])}
    tool = _make_tool(r, this["names"], arguments, r.choice(this["what"]))
    ask = say(r, this["ask"], c=place)
    degrees, sky = r.randint(-9, 39), r.choice(this["skies"])
    measured: dict[str, object] = {"temperature": degrees, "condition": sky}
    spoken = f"{degrees} degrees and {sky}"
    results = [measured, spoken, f"{sky}, {degrees} degrees", {"city": place, **measured}]
    return ToolCase(tool, ask, {key: place}, r.choice(results), f"It is {spoken} in {place}.")


def _sum(r: Rng) -> ToolCase:
    this = r.choice(_TOOLS["sums"])
    x, y = r.choice([("a", "b"), ("a", "b"), ("x", "y"), ("first", "second"), ("left", "right")])
    a = r.randint(0, r.choice([20, 99, 999, 9999]))
    b = r.randint(0, r.choice([20, 99, 999, 9999]))
    kind = r.choice(["integer", "number"])
    arguments = {x: Argument(kind, "First number"), y: Argument(kind, "Second number")}
    tool = _make_tool(r, this["names"], arguments, this["what"])
    ask = say(r, this["ask"], a=a, b=b)
    total = a + b if this["op"] == "plus" else a * b
    result = r.choice([total, {"result": total}, {"value": total}])
    return ToolCase(tool, ask, {x: a, y: b}, result, f"The result is {total}.")


def _search(r: Rng) -> ToolCase:
    this = _TOOLS["search"]
    key, query = r.choice(this["keys"]), words(r, 1, 3)
    arguments = {key: Argument("string", this["argument"])}
    tool = _make_tool(r, this["names"], arguments, r.choice(this["what"]))
    found = words(r, 2, 4)
    ask = say(r, this["ask"], q=query)
    result = r.choice([found, {"result": found}, {"results": [found]}])
    return ToolCase(tool, ask, {key: query}, result, f"I found this: {found}")


def _clock(r: Rng) -> ToolCase:
    this = _TOOLS["clock"]
    key, place = r.choice(this["keys"]), city(r)
    time = f"{r.randint(0, 23):02d}:{r.randint(0, 59):02d}"
    tool = _make_tool(r, this["names"], {key: Argument("string", this["argument"])}, this["what"])
    ask = say(r, this["ask"], c=place)
    result = r.choice([time, {"time": time}])
    return ToolCase(tool, ask, {key: place}, result, f"It is {time} in {place}.")


def _message(r: Rng) -> ToolCase:
    this = _TOOLS["message"]
    to, text = name(r), words(r, 1, 3)
    who, what = r.choice(this["keys"])
    about_who, about_what = this["arguments"]
    arguments = {who: Argument("string", about_who), what: Argument("string", about_what)}
    tool = _make_tool(r, this["names"], arguments, this["what"])
    ask = say(r, this["ask"], t=text, n=to)
    results: list[object] = ["ok", "sent", {"status": "ok"}, {"sent": True}]
    return _done(r, tool, ask, {who: to, what: text}, results)


def _timer(r: Rng) -> ToolCase:
    this = _TOOLS["timer"]
    n, unit = r.randint(1, 60), r.choice(this["units"])
    arguments = {unit: Argument("integer", f"Number of {unit}")}
    tool = _make_tool(r, this["names"], arguments, this["what"])
    ask = say(r, this["ask"], n=n, u=unit)
    return _done(r, tool, ask, {unit: n}, ["ok", "started", {"status": "ok"}])


def _switch(r: Rng) -> ToolCase:
    this = _TOOLS["switch"]
    thing, key = word(r), r.choice(this["keys"])
    does: Table = r.choice(this["verbs"])
    arguments = {key: Argument("string", f"Name of the {key}")}
    tool = _make_tool(r, does["names"], arguments, f"{does['verb']} something")
    ask = say(r, this["ask"], v=does["verb"], t=thing, k=key)
    return _done(r, tool, ask, {key: thing}, ["ok", "done", {"status": "ok"}])


def _any(r: Rng) -> ToolCase:
    this = _TOOLS["any"]
    function = f"{made_up(r, 2)}_{word(r)}"
    key = r.choice([word(r), made_up(r, 1) + "o"])
    number = r.random() < 0.5
    value: object = r.randint(0, 999) if number else word(r)
    arguments = {key: Argument("integer" if number else "string", this["argument"])}
    what = r.choice(["A tool", "Runs the tool", f"Does the {word(r)}"])
    tool = _make_tool(r, [function], arguments, what)
    found = word(r)
    ask = say(r, this["ask"], f=function, k=key, v=value)
    result = r.choice([found, {"result": found}])
    return ToolCase(tool, ask, {key: value}, result, f"The result is {found}.")


def _done(
    r: Rng, tool: Message, ask: str, arguments: dict[str, object], results: list[object]
) -> ToolCase:
    return ToolCase(tool, ask, arguments, r.choice(results), "Done.")


_CASES: list[Callable[[Rng], ToolCase]] = [
    *(_weather, _sum, _sum, _search, _clock),
    *(_message, _timer, _switch, _any),
]


def tool_case(r: Rng) -> ToolCase:
    return _CASES[r.randrange(len(_CASES))](r)
