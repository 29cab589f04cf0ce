"""A program with `llama-server`'s flags and endpoints, that streams words without any model."""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STEP_S = 0.002


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._begin()
        self.wfile.write(b'{"status": "ok"}')

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["stream"] and asked["ignore_eos"] and isinstance(asked["prompt"][0], int)
        self._begin()
        for number in range(asked["max_tokens"]):
            time.sleep(STEP_S)
            event = {"choices": [{"text": f"w{number}"}]}
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        pass

    def _begin(self) -> None:
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()


if __name__ == "__main__":
    given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    assert given["-np"] == "16", given
    address = (given["--host"], int(given["--port"]))
    ThreadingHTTPServer(address, Handler).serve_forever()
