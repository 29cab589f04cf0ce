"""Every failure rbee names, as one tree; each class knows its HTTP status and its code.

    RbeeError                      500 internal_error
    |-- BadRequest                 400 bad_request            the request makes no sense
    |   |-- NotJson                400 invalid_json
    |   |-- PromptTooLong          400 context_length_exceeded
    |   |-- BadModelFile           400 bad_model_file         not a GGUF, or a broken one
    |   `-- Poisonous              400 poison_request         it killed every worker that tried it
    |-- Forbidden                  403 forbidden              wrong Host or Origin header
    |-- NotFound                   404 not_found
    |   |-- ModelNotFound          404 model_not_found
    |   |-- HiveNotFound           404 hive_not_found
    |   |-- WorkerNotFound         404 worker_not_found
    |   `-- JobNotFound            404 job_not_found
    |-- MethodNotAllowed           405 method_not_allowed
    |-- Conflict                   409 conflict               asked of something in the wrong state
    |   |-- ModelProtected         409 model_protected        the embedded model is never deleted
    |   |-- ModelInUse             409 model_in_use
    |   `-- ModelAmbiguous         409 model_ambiguous        several files fit the name
    |-- Gone                       410 events_gone            the events asked for are gone
    |-- TooLarge                   413 too_large
    |-- WrongMedia                 415 wrong_media_type
    |-- Misdirected                421 misdirected            another server must be asked
    |-- Invalid                    422 invalid_field          `path` is the JSON path of the fault
    |-- HeadersTooLarge            431 headers_too_large
    |-- Overloaded                 429 overloaded             `retry_after_s` says when to come back
    |-- Cancelled                  499 cancelled
    |-- Upstream                   502 upstream_failed        another server failed us
    |   |-- WorkerGone             502 worker_gone            the worker died or vanished
    |   `-- HubFailed              502 hub_failed
    |-- Unavailable                503 unavailable
    |   |-- NoHive                 503 no_hive
    |   |-- SpawnFailed            503 spawn_failed
    |   |-- PortInUse              503 port_in_use
    |   |-- Draining               503 draining               it finishes what it has, and no more
    |   `-- ServerGone             503 server_unreachable     nothing answers at that address
    |-- Late                       504 deadline_exceeded
    `-- Usage                      400 usage                  wrong flags or settings; exit code 2

Messages are whole sentences for a person: what was wrong, where; `hint` says what to do.
"""

from __future__ import annotations

from typing import ClassVar


class RbeeError(Exception):
    """The root. `message` says what happened, `hint` what to do, `path` where in the input."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(
        self, message: str, *, hint: str = "", path: str = "", retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.path = path
        self.retry_after_s = retry_after_s


class BadRequest(RbeeError):
    status, code = 400, "bad_request"


class NotJson(BadRequest):
    code = "invalid_json"


class PromptTooLong(BadRequest):
    code = "context_length_exceeded"


class BadModelFile(BadRequest):
    code = "bad_model_file"


class Poisonous(BadRequest):
    code = "poison_request"


class Forbidden(RbeeError):
    status, code = 403, "forbidden"


class NotFound(RbeeError):
    status, code = 404, "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class HiveNotFound(NotFound):
    code = "hive_not_found"


class WorkerNotFound(NotFound):
    code = "worker_not_found"


class JobNotFound(NotFound):
    code = "job_not_found"


class MethodNotAllowed(RbeeError):
    status, code = 405, "method_not_allowed"


class Conflict(RbeeError):
    status, code = 409, "conflict"


class ModelProtected(Conflict):
    code = "model_protected"


class ModelInUse(Conflict):
    code = "model_in_use"


class ModelAmbiguous(Conflict):
    code = "model_ambiguous"


class Gone(RbeeError):
    status, code = 410, "events_gone"


class TooLarge(RbeeError):
    status, code = 413, "too_large"


class WrongMedia(RbeeError):
    status, code = 415, "wrong_media_type"


class Misdirected(RbeeError):
    status, code = 421, "misdirected"


class Invalid(RbeeError):
    status, code = 422, "invalid_field"


class HeadersTooLarge(RbeeError):
    status, code = 431, "headers_too_large"


class Overloaded(RbeeError):
    status, code = 429, "overloaded"


class Cancelled(RbeeError):
    status, code = 499, "cancelled"


class Upstream(RbeeError):
    status, code = 502, "upstream_failed"


class WorkerGone(Upstream):
    code = "worker_gone"


class HubFailed(Upstream):
    code = "hub_failed"


class Unavailable(RbeeError):
    status, code = 503, "unavailable"


class NoHive(Unavailable):
    code = "no_hive"


class SpawnFailed(Unavailable):
    code = "spawn_failed"


class PortInUse(Unavailable):
    code = "port_in_use"


class Draining(Unavailable):
    code = "draining"


class ServerGone(Unavailable):
    code = "server_unreachable"


class Late(RbeeError):
    status, code = 504, "deadline_exceeded"


class Usage(RbeeError):
    status, code = 400, "usage"


def _tree(root: type[RbeeError]) -> dict[str, type[RbeeError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


BY_CODE: dict[str, type[RbeeError]] = _tree(RbeeError)
"""How a code read off the wire becomes an exception again."""


def from_code(code: str, message: str, *, hint: str = "", path: str = "") -> RbeeError:
    """The exception a code stands for; an unknown code (a newer peer) becomes `Upstream`."""
    return BY_CODE.get(code, Upstream)(message, hint=hint, path=path)
