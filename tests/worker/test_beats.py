"""What a worker tells its queen, and when: a listener on a real socket that understands beats."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rbee import __version__, bee
from rbee.contracts.fleet import Beat, BeatAck, WorkerBeat
from rbee.wire.codec import decode, encode
from tests.bee import known_answers as known
from tests.http import listening
from tests.worker.bees import endless, infer, serving, status, until

NEXT_S = 30.0
"""So long that every further beat came because something changed."""


class Listener:
    """Collects the beats that arrive at `url`."""

    def __init__(self, port: int = 0) -> None:
        beats: list[WorkerBeat] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                beat: Beat = decode(body, Beat)
                assert isinstance(beat, WorkerBeat) and self.path == "/v1/heartbeats"
                beats.append(beat)
                answer = encode(BeatAck(NEXT_S, "queen-1"))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.beats = beats
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def last(self) -> WorkerBeat:
        return self.beats[-1]


@contextmanager
def hearing(port: int = 0) -> Iterator[Listener]:
    listener = Listener(port)
    thread = threading.Thread(target=listener.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield listener
    finally:
        listener.server.shutdown()
        thread.join(10)
        listener.server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with hearing() as made:
        yield made


def test_the_first_beat_tells_everything(listener: Listener) -> None:
    with serving(queen=listener.url, id="w-1", hive_id="h-1", slots=3, ctx=512) as worker:
        until(lambda: listener.beats)
        beat = listener.beats[0]
        assert (beat.id, beat.hive_id, beat.url, beat.seq) == ("w-1", "h-1", worker.url, 1)
        assert (beat.model, beat.sha256, beat.version) == ("bee", bee.SHA256, __version__)
        assert (beat.state, beat.slots, beat.busy, beat.waiting) == ("ready", 3, 0, 0)
        assert beat.context == 512 and beat.embeds and beat.rss_bytes > 2**20
        assert beat.incarnation and beat.step_age_s == 0
        assert beat.device == status(worker.url)["device"]


def test_its_hive_and_every_queen_hear_the_same_life(listener: Listener) -> None:
    with hearing() as second, hearing() as hive:
        queens = f"{listener.url},{second.url}"
        with serving(queen=queens, hive=hive.url, id="w-1", hive_id="h-1") as worker:
            until(lambda: all(heard.beats for heard in (listener, second, hive)))
            worker.child.terminate()
            worker.child.wait(5)
        all_heard = [heard.beats for heard in (listener, second, hive)]
        assert len({beats[0].incarnation for beats in all_heard}) == 1
        assert {beats[0].pid for beats in all_heard} == {worker.pid}
        assert [beats[-1].state for beats in all_heard] == ["stopped"] * 3
        for beats in all_heard:
            assert {"draining", "stopping"} & {beat.state for beat in beats}


def test_slots_taken_and_freed_are_told_at_once(listener: Listener) -> None:
    with serving(queen=listener.url, slots=2) as worker:
        until(lambda: listener.beats)
        url, body = f"{worker.url}/v1/infer", endless(worker.url)
        with listening("POST", url, body) as (headers, events):
            next(events)
            until(lambda: listener.last.busy == 1)
            assert listener.last.jobs == [headers["x-rbee-job-id"]]
            with listening("POST", url, body) as (_, more):
                next(more)
                until(lambda: listener.last.busy == 2)
            until(lambda: listener.last.busy == 1)
        until(lambda: listener.last.busy == 0)
        assert listener.last.jobs == [] and listener.last.step > 0
        infer(worker.url, "Hello")
        until(lambda: listener.last.busy == 0 and listener.last.step == status(worker.url)["step"])
    seqs = [beat.seq for beat in listener.beats]
    assert seqs == sorted(set(seqs))
    assert len({beat.incarnation for beat in listener.beats}) == 1


def test_a_job_keeps_the_name_that_the_queen_gave_it(listener: Listener) -> None:
    with serving(queen=listener.url) as worker:
        given = {"X-Rbee-Job-Id": "job-from-queen"}
        body = endless(worker.url)
        with listening("POST", f"{worker.url}/v1/infer", body, given) as (headers, events):
            next(events)
            assert headers["x-rbee-job-id"] == "job-from-queen"
            until(lambda: listener.beats and listener.last.jobs == ["job-from-queen"])


def test_its_last_word_is_that_it_has_stopped(listener: Listener) -> None:
    with serving(queen=listener.url) as worker:
        until(lambda: listener.beats)
        assert worker.stop() == 0
    assert listener.last.state == "stopped" and listener.last.busy == 0
    assert [beat.state for beat in listener.beats].count("stopped") == 1


def test_a_queen_that_comes_later_is_found_and_none_is_no_harm() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with serving(queen=f"http://127.0.0.1:{port}") as worker:
        assert infer(worker.url, "Hello")["choices"][0]["text"] == known.GREETING
        with hearing(port) as listener:
            until(lambda: listener.beats)
            assert listener.last.url == worker.url
        assert worker.stop() == 0
        assert worker.stderr().count("no answer from the queen") <= 2


def test_a_device_that_this_build_cannot_use_is_not_claimed() -> None:
    from rbee.worker.engine.llama.loading import supports_gpu

    if supports_gpu():
        pytest.skip("this llama.cpp can use a GPU")
    with serving(device="cuda:0") as worker:
        assert status(worker.url)["device"] == "cpu"
        assert "cuda:0 is not used" in worker.stderr()
