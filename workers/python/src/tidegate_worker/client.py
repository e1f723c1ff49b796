"""The four calls of the worker protocol."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from .protocol import Directive, Event, Item, Outcome, events, finish_body

logger = logging.getLogger(__name__)

CONNECT_S = 5.0
# How long any answer may take that the server has no reason to hold back.
ANSWER_S = 5.0
# A result may have to travel far, and is worth waiting for.
FINISH_S = 30.0


class Unavailable(Exception):
    """No answer, or none that settles anything. The same call may do better later."""


class Refused(Exception):
    """The server has understood, and its answer will be the same next time."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail


class Token:
    """A bearer token that was given, or stands in a file.

    A file is read for every request, so that a renewed token counts at once.
    """

    def __init__(self, value: str | None = None, file: Path | None = None) -> None:
        self._file = file
        self._value = value if file is None else file.read_text().strip()

    @classmethod
    def find(cls, value: str | None, file: str | os.PathLike[str] | None) -> Token:
        """What was given counts; else `TIDEGATE_TOKEN_FILE`, else `TIDEGATE_TOKEN`, else none."""
        if value is not None:
            return cls(value)
        file = file or os.environ.get("TIDEGATE_TOKEN_FILE")
        return cls(file=Path(file)) if file else cls(os.environ.get("TIDEGATE_TOKEN"))

    def read(self) -> str | None:
        if self._file is not None:
            try:
                self._value = self._file.read_text().strip()
            except OSError as error:
                logger.warning("the token file cannot be read, going on as before: %s", error)
        return self._value


class Bearer(httpx.Auth):
    """Sends the token to the server's own origin and to no other, whatever is asked for."""

    def __init__(self, server: httpx.URL, token: Token) -> None:
        self._origin = _origin(server)
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._token.read()
        if token and _origin(request.url) == self._origin:
            request.headers["Authorization"] = f"Bearer {token}"
        yield request


class Client:
    """A worker's session with its server. It may be used from many threads at once.

    The protocol wants claims and the control stream apart. So they are, without further ado: an
    HTTP/1.1 connection is nobody else's while its request lasts.

    # Errors
    Every call raises `Unavailable` or `Refused`, and nothing else.
    """

    def __init__(self, server: str, worker: str, token: Token) -> None:
        url = httpx.URL(server)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("the server's URL must begin with http:// or https://")
        self.worker = worker
        self.session = str(uuid.uuid4())
        self._http = httpx.Client(
            base_url=url,
            auth=Bearer(url, token),
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=None),
            follow_redirects=False,
        )

    def close(self) -> None:
        self._http.close()

    def claim(
        self, models: Sequence[str], *, claim_id: str, most: int, wait_s: float
    ) -> list[Item]:
        """Up to `most` items, after `wait_s` at the latest. Asked again with the same `claim_id`,
        the server answers the same items, so that none is lost with an answer."""
        body = {
            "worker": self.worker,
            "session": self.session,
            "claimId": claim_id,
            "models": list(models),
            "max": most,
            "waitMs": round(wait_s * 1000),
        }
        members = self._post("api/worker/claim", json.dumps(body).encode(), wait_s + ANSWER_S)
        with _understanding():
            return [Item.from_json(item) for item in members.get("items", [])]

    def heartbeat(self, items: Sequence[tuple[Item, int | None]]) -> tuple[list[Directive], bool]:
        """Renews the leases of items, and tells of their progress. The second part of the answer
        is whether the server is draining."""
        beats: list[dict[str, object]] = []
        for item, progress in items:
            beats.append({"id": item.id, "fence": item.fence})
            if progress is not None:
                beats[-1]["progress"] = progress
        body = json.dumps({"session": self.session, "items": beats}).encode()
        members = self._post(f"api/worker/{self.worker}/heartbeat", body, ANSWER_S)
        with _understanding():
            directives = [Directive.from_json(item) for item in members["items"]]
            return directives, bool(members.get("drain", False))

    def finish(self, item: Item, outcome: Outcome) -> str:
        """Reports how the item has ended, and returns the state that it has from now on. The same
        report again gets the same answer."""
        body = finish_body(item, outcome)
        members = self._post(f"api/worker/items/{item.id}/finish", body, FINISH_S)
        with _understanding():
            return str(members["state"])

    def control(self, silence_s: float) -> Generator[Event, None, None]:
        """The control stream, until it ends. `Unavailable` if it is silent for `silence_s`."""
        path = f"api/worker/{self.worker}/control"
        timeout = httpx.Timeout(silence_s, connect=CONNECT_S)
        with (
            _answering(),
            self._http.stream(
                "GET",
                path,
                params={"session": self.session},
                headers={"Accept": "text/event-stream", "Cache-Control": "no-store"},
                timeout=timeout,
            ) as response,
        ):
            if response.status_code != 200:
                response.read()
                raise _refusal(response)
            with _understanding():
                yield from events(response.iter_lines())

    def _post(self, path: str, body: bytes, silence_s: float) -> dict[str, Any]:
        with _answering():
            response = self._http.post(
                path,
                content=body,
                headers={"Content-Type": "application/json"},
                timeout=httpx.Timeout(silence_s, connect=CONNECT_S),
            )
        if response.status_code == 204:
            return {}
        if response.status_code != 200:
            raise _refusal(response)
        with _understanding():
            members = response.json()
            if not isinstance(members, dict):
                raise TypeError("the answer is no JSON object")
            return members


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


@contextmanager
def _understanding() -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"the answer is not understood: {error!r}") from error


def _refusal(response: httpx.Response) -> Unavailable | Refused:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    status = response.status_code
    code = str(problem.get("code", response.reason_phrase))
    detail = str(problem.get("detail", ""))
    if isinstance(problem.get("errors"), dict):
        detail = f"{detail} {problem['errors']}".strip()
    # A token can be renewed in its file, so 401 is not the last word either.
    if status in (401, 408, 425, 429) or status >= 500:
        return Unavailable(f"{status} {code}: {detail}")
    return Refused(status, code, detail)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)
