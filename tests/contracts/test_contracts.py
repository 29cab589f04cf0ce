"""What every contract promises, proved over generated values and over the types themselves."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from rbee.contracts import answers, chat, events, fleet, operations, worker_api
from rbee.errors import Invalid
from rbee.wire import codec
from tests.contracts import strategies

ANSWERS = [
    answers.InferAnswer,
    answers.Spawned,
    answers.Deleted,
    answers.ModelEntries,
    answers.WorkerProcesses,
    answers.JobAccepted,
    answers.JobView,
    answers.JobList,
    answers.ProblemReply,
    answers.Health,
    events.AnyEvent,
    fleet.Beat,
    fleet.BeatAck,
    fleet.FleetStatus,
    fleet.ModelEntry,
    fleet.WorkerProcess,
    worker_api.Vectors,
    worker_api.Tokens,
    worker_api.Text,
    worker_api.Ranks,
    worker_api.Rendered,
]
REQUESTS = [
    operations.AnyOperation,
    worker_api.Embed,
    worker_api.Tokenize,
    worker_api.Detokenize,
    worker_api.Rank,
    worker_api.ApplyTemplate,
]
BETWEEN = [worker_api.Generate, worker_api.WorkerEvent]
"""What passes only between a queen and a worker: each holds requests and events of others."""
FREE_FORM = {"json_schema", "parameters", "chat_template_kwargs"}
"""JSON that rbee hands on as it is; only the body's size bounds it."""


def name_of(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind)[:60])


@pytest.mark.parametrize("kind", [*REQUESTS, *ANSWERS, *BETWEEN], ids=name_of)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_sent_is_what_arrives(kind: Any, data: st.DataObject) -> None:
    value = data.draw(strategies.of(kind))
    assert codec.decode(codec.encode(value), kind) == value
    assert codec.convert(codec.plain(value), kind) == value


@pytest.mark.parametrize("kind", ANSWERS, ids=name_of)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_newer_peer_may_add_fields_to_answers(kind: Any, data: st.DataObject) -> None:
    value = data.draw(strategies.of(kind))
    grown = codec.encode({**codec.plain(value), "from_the_future": {"a": [1]}})
    assert codec.decode(grown, kind) == value


@pytest.mark.parametrize("kind", ANSWERS, ids=name_of)
def test_no_part_of_an_answer_refuses_unknown_fields(kind: Any) -> None:
    strict = [s.cls.__name__ for s in strategies.structs_in(kind) if strategies.forbids(s.cls)]
    assert not strict


@pytest.mark.parametrize("kind", REQUESTS, ids=name_of)
def test_every_part_of_a_request_refuses_unknown_fields(kind: Any) -> None:
    loose = [s.cls.__name__ for s in strategies.structs_in(kind) if not strategies.forbids(s.cls)]
    assert not loose


@pytest.mark.parametrize("kind", typing.get_args(operations.AnyOperation), ids=name_of)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_an_unknown_field_is_named(kind: Any, data: st.DataObject) -> None:
    built = codec.plain(data.draw(strategies.of(kind)))
    with pytest.raises(Invalid) as caught:
        codec.decode(codec.encode({**built, "temprature": 1}), operations.AnyOperation)
    assert caught.value.path == "$.temprature"
    assert "temprature" in caught.value.message


@pytest.mark.parametrize(
    "union", [operations.AnyOperation, events.AnyEvent, fleet.Beat], ids=["operation", "event", ""]
)
def test_tags_are_unique(union: Any) -> None:
    tags = [member.__struct_config__.tag for member in typing.get_args(union)]
    assert None not in tags
    assert len(set(tags)) == len(tags)


def test_the_unions_name_every_operation_and_every_event() -> None:
    assert set(typing.get_args(operations.AnyOperation)) == set(leaves(operations.Operation))
    assert set(typing.get_args(events.AnyEvent)) == set(leaves(events.Event))


def leaves(root: type) -> list[type]:
    children: list[type] = root.__subclasses__()
    return [leaf for child in children for leaf in (leaves(child) or [child])]


def unbounded(found: Any, where: str) -> list[str]:
    """The places inside a type where a peer may send something without an end."""
    match found:
        case inspect.IntType() | inspect.FloatType():
            low = found.ge if found.gt is None else found.gt
            high = found.le if found.lt is None else found.lt
            return [] if low is not None and high is not None else [where]
        case inspect.StrType():
            return [] if found.max_length is not None else [where]
        case inspect.ListType() | inspect.DictType():
            here = [] if found.max_length is not None else [where]
            where = f"{where}[]"
        case _:
            here = []
    return here + [w for part in strategies.parts_of(found) for w in unbounded(part, where)]


@pytest.mark.parametrize("kind", REQUESTS, ids=name_of)
def test_every_field_of_a_request_is_bounded(kind: Any) -> None:
    found = [
        place
        for struct in strategies.structs_in(kind)
        for field in struct.fields
        if field.name not in FREE_FORM
        for place in unbounded(field.type, f"{struct.cls.__name__}.{field.name}")
    ]
    assert not found


@pytest.mark.parametrize("kind", [*REQUESTS, *ANSWERS], ids=name_of)
def test_what_may_be_left_out_has_a_default(kind: Any) -> None:
    """A field that may be null may also be missing: peers differ in which of the two they send."""
    missing = [
        f"{struct.cls.__name__}.{field.name}"
        for struct in strategies.structs_in(kind)
        for field in struct.fields
        if field.required and may_be_null(field.type)
    ]
    assert not missing


def may_be_null(found: Any) -> bool:
    return isinstance(found, inspect.UnionType) and found.includes_none


OUT_OF_RANGE = [
    ("max_tokens", -1),
    ("max_tokens", 1_048_577),
    ("temperature", -0.001),
    ("temperature", 5.001),
    ("top_p", -0.1),
    ("top_p", 1.1),
    ("min_p", 1.1),
    ("top_k", -1),
    ("repeat_penalty", 0),
    ("presence_penalty", 2.1),
    ("frequency_penalty", -2.1),
    ("seed", 2**63),
    ("seed", -(2**63) - 1),
    ("logprobs", 21),
    ("n", 0),
    ("n", 129),
    ("priority", 101),
    ("deadline_ms", 0),
    ("stop", [""]),
    ("stop", ["x"] * 17),
    ("prompt", []),
    ("messages", []),
    ("tools", []),
    ("model", ""),
    ("model", "x" * 513),
    ("hive_id", "../x"),
    ("hive_id", "x\n"),
    ("worker_id", "x" * 65),
    ("device", "x" * 65),
    ("stream", 1),
]


@pytest.mark.parametrize(("field", "value"), OUT_OF_RANGE, ids=str)
def test_out_of_range_names_the_field(field: str, value: Any) -> None:
    body = codec.encode({"operation": "infer", "model": "bee", field: value})
    with pytest.raises(Invalid) as caught:
        codec.decode(body, operations.QueenOperation)
    assert caught.value.path.startswith(f"$.{field}")
    assert caught.value.status == 422


def test_a_replayed_call_keeps_its_strictness() -> None:
    """Calls are read loosely off a worker and strictly off a client."""
    call = {"id": "1", "function": {"name": "f", "arguments": "{}"}, "new": 1}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    with pytest.raises(Invalid) as caught:
        codec.convert(message, chat.Message)
    assert caught.value.path == "$.tool_calls[0].new"
    token = {"type": "token", "index": 0, "text": "", "token_ids": [], "tool_calls": [call]}
    read: events.Token = codec.convert(token, events.AnyEvent)
    assert read.tool_calls == [chat.ToolCall("1", chat.FunctionCall("f", "{}"))]


def test_defaults_stay_off_the_wire_in_requests() -> None:
    """What a client left out is the worker's to decide, so it must not turn into a null."""
    assert msgspec.json.decode(codec.encode(operations.Infer(model="bee"))) == {
        "operation": "infer",
        "model": "bee",
    }
