"""`rbee chat` on a real terminal (a pty): prompts, Ctrl-C, Ctrl-D, and text that would steer it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.client.frail import Fault, Frail, frail, log
from tests.client.stub import Stub, done, stream, stub, token
from tests.keeper.command import Rbee, local

if sys.platform == "win32":
    pytest.skip("Windows has no pty", allow_module_level=True)

import pty

LIMIT_S = 20.0


@dataclass
class Terminal:
    """What a person sees and types."""

    fd: int
    child: subprocess.Popen[bytes]
    seen: bytes = b""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait_for(self, text: str) -> str:
        """What was shown up to and with `text`; the rest stays for the next time."""
        end = time.monotonic() + LIMIT_S
        while text.encode() not in self.seen:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], self.seen
            self.seen += os.read(self.fd, 65_536)
        head, _, self.seen = self.seen.partition(text.encode())
        return head.decode() + text

    def prompt(self) -> None:
        self.wait_for("> ")
        self.listening()

    def listening(self) -> None:
        """Wait until it waits: Python loses a Ctrl-C that comes between its last look and that."""
        end = time.monotonic() + LIMIT_S
        while psutil.Process(self.child.pid).status() != psutil.STATUS_SLEEPING:
            assert time.monotonic() < end
            time.sleep(0.005)


@contextmanager
def terminal(rbee: Rbee, server: Stub | Frail, *arguments: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    env = {**rbee.env, "RBEE_QUEEN_URL": server.url, "TERM": "dumb", "NO_COLOR": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", _OWN_TERMINAL, *rbee.command(*arguments)],
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(ours, child)
    finally:
        child.kill()
        child.wait(LIMIT_S)
        os.close(ours)


_OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Only a session's own terminal turns Ctrl-C into a signal."""


@pytest.fixture
def rbee(tmp_path: Path) -> Rbee:
    return local(tmp_path)


def test_a_conversation(rbee: Rbee) -> None:
    endless = stream(token("one"), token(" two", 1), end=False, hold=True)
    with stub(endless, stream(token("three"), done())) as server:
        with terminal(rbee, server, "chat") as screen:
            screen.prompt()
            screen.type("Count\n")
            screen.wait_for("one two")
            screen.listening()
            screen.type("\x03")
            screen.wait_for("(stopped)")
            assert server.left.wait(LIMIT_S)
            assert server.deleted == ["/v1/jobs/job-1"]
            screen.prompt()
            screen.type("\x03")
            screen.prompt()
            screen.type("Go on\n")
            screen.wait_for("three")
            screen.prompt()
            screen.type("\x04")
            assert screen.child.wait(LIMIT_S) == 0
        said = [m["content"] for m in server.asked[1].json()["messages"]]
    assert said == ["Count", "one two", "Go on"]


def test_ctrl_c_twice_at_the_prompt_leaves(rbee: Rbee) -> None:
    with stub() as server, terminal(rbee, server, "chat") as screen:
        screen.prompt()
        screen.type("\x03")
        screen.wait_for("(Ctrl-C again leaves)")
        screen.prompt()
        screen.type("/help\n")
        screen.prompt()
        screen.type("\x03")
        screen.wait_for("(Ctrl-C again leaves)")
        screen.prompt()
        screen.type("\x03")
        assert screen.child.wait(LIMIT_S) == 130


def test_a_wait_is_shown_and_gone_and_text_is_harmless(rbee: Rbee) -> None:
    loading = {"type": "progress", "what": "load", "done": 40, "total": 100, "unit": "percent"}
    events = (loading, token("\x1b]0;owned\x07"), done())
    with stub(stream(*events)) as server, terminal(rbee, server, "infer", "Hi") as screen:
        screen.wait_for("load 40%")
        shown = screen.wait_for("owned␇")
        assert screen.child.wait(LIMIT_S) == 0
    assert shown == "\r\x1b[K␛]0;owned␇"


def test_a_break_is_told_below_the_text_and_gone_when_it_goes_on(rbee: Rbee) -> None:
    with broken_once() as queen, terminal(rbee, queen, "infer", "Hi") as screen:
        assert over_a_break(queen, screen) == BREAK_SHOWN
        assert screen.child.wait(LIMIT_S) == 0


def test_a_chat_shows_a_break_so_too_and_goes_on(rbee: Rbee) -> None:
    with broken_once() as queen, terminal(rbee, queen, "chat") as screen:
        screen.prompt()
        screen.type("Count\n")
        assert over_a_break(queen, screen) == BREAK_SHOWN
        screen.prompt()
        screen.type("\x04")
        assert screen.child.wait(LIMIT_S) == 0


_TOLD = "\r\x1b[K\x1b[2mthe queen does not answer; trying again\x1b[22m"
BREAK_SHOWN = f"\x1bD\x1b[A\x1b7\r\n{_TOLD}{_TOLD}\r\x1b[K\x1b8 two"


@contextmanager
def broken_once() -> Iterator[Frail]:
    """A queen whose stream breaks when its first word was seen, and who then refuses once."""
    with frail(log(["one", " two"], waits=0), Fault("reset", 1), Fault("draining")) as queen:
        queen.break_at = 1
        yield queen


def over_a_break(queen: Frail, screen: Terminal) -> str:
    """What is shown between the first word and the second."""
    screen.wait_for("one")
    queen.seen.release()
    return screen.wait_for("two")
