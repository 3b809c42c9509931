"""HTTP requests one at a time, at a limited rate, with retries."""

from __future__ import annotations

import datetime
import email.utils
import http.client
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from cloudseg.core.errors import CloudsegError

T = TypeVar("T")
PAUSES = (2.0, 8.0, 32.0)
"""Seconds to wait, at least, before each retry."""
LONGEST_PAUSE = 300.0
"""Seconds that the client waits, at most, if the service asks for a pause."""
LONGEST_TRANSFER = 600.0
"""Seconds after which an answer that still arrives counts as broken."""
MOST_BYTES = 256 << 20
"""A longer answer counts as broken."""
BLOCK = 1 << 16
_RETRIED = frozenset((408, 425, 429, 500, 502, 503, 504))
"""HTTP status codes after which a later request may succeed (RFC 9110, 15.5 and 15.6; RFC 6585, 4; RFC 8470, 5.2)."""


class Broken(Exception):
    """The answer is no use, but a retry may help. `wait`: seconds that the service asks for before the next request."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class PauseAsked(Broken):
    """The service asks for a pause that is longer than LONGEST_PAUSE."""


class Refused(Exception):
    """The service refuses the request; a retry would not help."""


class _Unreachable(Broken):
    """No connection was made."""


@dataclass(frozen=True)
class Answer:
    """Content of a response. `kind` is its media type in lower case, without parameters; "" if there is none."""

    kind: str
    content: bytes


class Client:
    """Sends requests to one service. At least `every` seconds lie between the starts of two requests.

    `timeout`: seconds without data after which a connection counts as broken.
    """

    def __init__(
        self,
        every: float,
        timeout: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every, self._timeout, self._sleep, self._clock = every, timeout, sleep, clock
        self._next = clock()
        self._reached = False

    def get(self, url: str, read: Callable[[Answer], T], name: str) -> T:
        """Request `url` and return `read(answer)`. Repeats the request if `read` raises Broken.

        `name` says in messages what is requested. Raises Broken after the last retry, PauseAsked, Refused, or what
        else `read` raises. Raises CloudsegError if no connection could be made yet.
        """
        for pause in (*PAUSES, None):
            self._wait_for_turn()
            try:
                return read(self._request(url))
            except Broken as error:
                if error.wait > LONGEST_PAUSE:
                    raise PauseAsked(f"{_host(url)} asks for a pause of {error.wait:.0f} s ({error})") from None
                if isinstance(error, _Unreachable) and not self._reached:
                    raise CloudsegError(
                        f"{_host(url)} cannot be reached: {error}. If this node has no internet, run it on a login "
                        "node; if a proxy leads to the internet, set https_proxy"
                    ) from None
                if pause is None:
                    raise
                wait = max(pause, error.wait)
                print(f"{name}: {error}; retrying in {wait:.0f} s", file=sys.stderr, flush=True)
                self._sleep(wait)
        raise AssertionError

    def _wait_for_turn(self) -> None:
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._every

    def _request(self, url: str) -> Answer:
        request = urllib.request.Request(url, headers={"User-Agent": "cloudseg"})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:
                self._reached = True
                return Answer(response.headers.get_content_type() if response.headers["Content-Type"] else "",
                              self._content(response))  # fmt: skip
        except urllib.error.HTTPError as error:
            self._reached = True
            status = f"HTTP {error.code} {error.reason}"
            if error.code in _RETRIED:
                raise Broken(status, retry_after(error.headers.get("Retry-After"))) from None
            raise Refused(status) from None
        except urllib.error.URLError as error:
            reason = error.reason
            connected = isinstance(reason, ConnectionError) and not isinstance(reason, ConnectionRefusedError)
            raise (Broken if connected else _Unreachable)(_text(reason)) from None
        except (OSError, http.client.HTTPException) as error:
            raise Broken(_text(error)) from None

    def _content(self, response: http.client.HTTPResponse) -> bytes:
        expected, content, begun = response.length, bytearray(), self._clock()
        while block := response.read(BLOCK):
            content += block
            if len(content) > MOST_BYTES:
                raise Broken(f"the answer is longer than {MOST_BYTES >> 20} MiB")
            if self._clock() - begun > LONGEST_TRANSFER:
                raise Broken(f"{len(content)} bytes arrived in {LONGEST_TRANSFER:.0f} s")
        if expected is not None and len(content) < expected:
            raise Broken(f"the connection broke after {len(content)} of {expected} bytes")
        return bytes(content)


def retry_after(value: str | None) -> float:
    """Seconds of a Retry-After header, which has seconds or a date (RFC 9110, 10.2.3); 0 for none or another text."""
    text = (value or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (moment - datetime.datetime.now(datetime.UTC)).total_seconds())


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _text(error: BaseException | str) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time (--timeout)"
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection broke after {len(error.partial)} bytes"
    return str(error) or type(error).__name__
