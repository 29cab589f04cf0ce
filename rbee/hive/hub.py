"""The model hub, through `huggingface_hub`; its errors translated where they enter. Blocking.

Only the download process (`fetch`) imports this, so that a hub that hangs can be killed.

The library's own `hf_hub_download` starts anew in every process; a download that survives a kill
is built on its parts: the listing, the addresses, the headers with the token, the HTTP session.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_session, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, exported implicitly
    WeakFileLock,
    build_hf_headers,
    hf_raise_for_status,
)

from rbee.errors import BadRequest, Forbidden, HubFailed, ModelNotFound, RbeeError
from rbee.hive.choice import HubFile

TransportError: type[Exception] = HfHubHTTPError.__bases__[0]
"""The root of the HTTP library's errors, whichever library this `huggingface_hub` is built on."""
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Interrupted(HubFailed):
    """Raised when a transfer broke; what has arrived is kept, and asking again goes on."""


@dataclass(frozen=True)
class Listing:
    """A repository at one commit, so that its files cannot change between two requests."""

    commit: str
    files: list[HubFile]


def listing(repo: str, timeout_s: float) -> Listing:
    """The files of a repository."""
    with _translated(repo):
        try:
            info = HfApi().model_info(repo, files_metadata=True, timeout=timeout_s)
        except HFValidationError as exc:
            raise BadRequest(f"{repo!r} is no repository: {_first_line(exc)}.") from exc
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise HubFailed(
                f"{constants.ENDPOINT} does not answer like a model hub: {_first_line(exc)}.",
                hint="check the network; HF_ENDPOINT names another hub",
            ) from exc
    files = [_file(sibling) for sibling in info.siblings or ()]
    return Listing(str(info.sha or "main"), files)


def _file(sibling: Any) -> HubFile:
    digest = str(sibling.lfs.sha256) if sibling.lfs else ""
    return HubFile(
        str(sibling.rfilename),
        sibling.size if isinstance(sibling.size, int) and sibling.size >= 0 else None,
        digest if _SHA256.match(digest) else "",
        str(sibling.blob_id or ""),
    )


def content(repo: str, commit: str, path: str, start: int, timeout_s: float) -> Iterator[bytes]:
    """The bytes of a file from `start` on. Raises `Interrupted` when the transfer breaks."""
    headers = build_hf_headers(library_name="rbee")
    headers["Accept-Encoding"] = "identity"  # a range of a compressed answer would mean nothing
    if start:
        headers["Range"] = f"bytes={start}-"
    url = hf_hub_url(repo, path, revision=commit)
    with (
        _translated(repo),
        get_session().stream(
            "GET", url, headers=headers, timeout=timeout_s, follow_redirects=True
        ) as response,
    ):
        hf_raise_for_status(response)
        chunks = response.iter_bytes()  # as they arrive: what is held back is lost when it breaks
        yield from chunks if response.status_code == 206 else without(start, chunks)


def without(skip: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks without their first `skip` bytes: for a server that ignores a range. What is
    skipped comes as an empty chunk, so that nobody takes it for silence."""
    for chunk in chunks:
        yield chunk[skip:]
        skip = max(0, skip - len(chunk))


@contextmanager
def alone(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a partial file's lock: two processes may be asked for the same one by two names.

    `waiting` is called every second while another process has it.
    """
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(WeakFileLock(lock, timeout=1.0))
                break
            except TimeoutError:
                waiting()
        yield


@contextmanager
def _translated(repo: str) -> Iterator[None]:
    try:
        yield
    except OfflineModeIsEnabled as exc:
        raise HubFailed(
            "The hub is switched off for this hive.", hint="unset HF_HUB_OFFLINE and restart it"
        ) from exc
    except GatedRepoError as exc:
        raise Forbidden(
            f"{repo} is gated: the hub wants its terms accepted first.",
            hint=f"accept them at {constants.ENDPOINT}/{repo}, and start the hive with HF_TOKEN",
        ) from exc
    except RepositoryNotFoundError as exc:
        raise _no_repository(repo) from exc
    except HfHubHTTPError as exc:
        raise _by_status(repo, exc) from exc
    except TransportError as exc:
        raise Interrupted(
            f"The hub at {constants.ENDPOINT} cannot be reached: {_first_line(exc)}.",
            hint="check the network; HF_ENDPOINT names another hub",
        ) from exc


def _by_status(repo: str, exc: HfHubHTTPError) -> RbeeError:
    status = exc.response.status_code
    if status == 404:
        return _no_repository(repo)
    if status in (401, 403):
        return Forbidden(
            f"The hub refuses access to {repo} ({status}).",
            hint="start the hive with an HF_TOKEN that may read it",
        )
    if status in (408, 429) or status >= 500:
        return Interrupted(f"The hub answered {status} for {repo}.", hint="try again later")
    return HubFailed(f"The hub answered {status} for {repo}: {_first_line(exc)}.")


def _no_repository(repo: str) -> ModelNotFound:
    return ModelNotFound(
        f"The hub at {constants.ENDPOINT} knows no repository {repo!r}, or hides it.",
        hint="check the spelling; a private one needs HF_TOKEN in the hive's environment",
        path="$.model",
    )


def _first_line(exc: Exception) -> str:
    text = str(exc).strip() or type(exc).__name__
    return text.splitlines()[0][:200].rstrip(".")
