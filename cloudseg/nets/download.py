"""Downloads of ImageNet weights: checked by their digest, whole or not at all, gone on with after a break."""

from __future__ import annotations

import fcntl
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from cloudseg.core.atomic import replacing
from cloudseg.core.errors import CloudsegError
from cloudseg.nets.imagenet import IMAGENET
from cloudseg.nets.weights import cached

PAUSES = (1.0, 4.0, 16.0)
"""Seconds to wait before each further try when a connection breaks."""
TIMEOUT = 30.0
"""Seconds of silence after which a connection counts as broken."""
EVERY_SECONDS = 10.0
"""Between two lines of progress in a log."""
BLOCK = 1 << 20


def fetch(encoder: str) -> None:
    """Download the weights of `encoder` unless they are there; what came of them before is kept and gone on from.

    Raises CloudsegError if they cannot be had, have another digest than published, or cannot be written.
    """
    source, file = IMAGENET[encoder], cached(encoder)
    try:
        if source.matches(file):
            print(f"{file} is there")
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with _held(file.with_name(f"{file.name}.part")) as part:
            if not source.matches(file):  # another fetch may have brought it while this one waited
                print(f"fetching {source.url}", flush=True)
                _complete(part, encoder)
                if not source.matches(Path(part.name)):
                    part.truncate(0)
                    raise CloudsegError(
                        f"{source.url}: what came has another digest than published and is thrown away; "
                        f"type it again. If a proxy puts a page of its own there, {_by_hand(encoder)}"
                    )
                with replacing(file) as temporary:
                    Path(part.name).rename(temporary)
    except OSError as error:
        raise CloudsegError(
            f"{error.filename or file}: {os.strerror(error.errno or 0)}; make room (see df and your quota) or let "
            "CLOUDSEG_CACHE name another folder that compute nodes see, then type it again"
        ) from error
    print(f"{file} is there now")


@contextmanager
def _held(path: Path) -> Iterator[BinaryIO]:
    """`path` open for appending, by one process at a time; if it is empty in the end, it is removed."""
    while True:
        with path.open("ab") as file:
            _lock(file)
            if not _still_called(path, file):
                continue
            try:
                yield file
            finally:
                file.flush()
                if os.fstat(file.fileno()).st_size == 0:
                    path.unlink(missing_ok=True)
            return


def _still_called(path: Path, file: BinaryIO) -> bool:
    """Whether nobody has renamed or removed `file` while this process waited for it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: BinaryIO) -> None:
    # Some file systems have no locks; there, two fetches at once end in a wrong digest.
    with suppress(OSError):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{file.name}: another fetch is at it; waiting for that one", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)


def _complete(part: BinaryIO, encoder: str) -> None:
    """Download what `part` lacks. Raises CloudsegError if the server refuses or the connection breaks too often."""
    url = IMAGENET[encoder].url
    for pause in (*PAUSES, None):
        try:
            start = part.seek(0, os.SEEK_END)
            with _progress(Path(url).name, start) as advance:
                for position, total, block in _blocks(url, start):
                    part.truncate(position)
                    part.write(block)
                    advance(position + len(block), total)
            part.flush()
            return
        except _Refused as error:
            raise CloudsegError(f"{url}: {error}; {_by_hand(encoder)}") from None
        except _Broken as error:
            if pause is None:
                kept = "what came is kept, the same command goes on from there; " if part.tell() else ""
                raise CloudsegError(f"{url}: {error}; {kept}{_by_hand(encoder)}") from None
            print(f"{url}: {error}; trying again in {pause:.0f} s", file=sys.stderr, flush=True)
            time.sleep(pause)


class _Refused(Exception):
    """The server answers, and another try will not change what it says."""


class _Broken(Exception):
    """The connection broke, or there was none."""


def _blocks(url: str, start: int) -> Iterator[tuple[int, int | None, bytes]]:
    """What lies at `url` from byte `start` on, or from 0 if the server knows no ranges.

    Blocks with their position and the size of the whole, None if unknown. Raises _Refused, _Broken.
    """
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            position = start if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            total = None if response.length is None else position + response.length
            while block := response.read(BLOCK):
                yield position, total, block
                position += len(block)
            if total is not None and position < total:
                raise _Broken(f"it broke off after {position} of {total} bytes")
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            if error.headers["Content-Range"] != f"bytes */{start}":  # else there is no more to come
                yield from _blocks(url, 0)
        elif error.code >= 500 or error.code in (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS):
            raise _Broken(str(error)) from None
        else:
            raise _Refused(str(error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(str(getattr(error, "reason", error)) or type(error).__name__) from None


@contextmanager
def _progress(name: str, start: int) -> Iterator[Callable[[int, int | None], None]]:
    """A function to call with bytes done and in all: a bar on a terminal, a line now and then in a log."""
    said = time.monotonic()
    terminal = sys.stderr.isatty()
    with tqdm(desc=name, initial=start, unit="B", unit_scale=True, dynamic_ncols=True, disable=not terminal) as bar:

        def advance(done: int, total: int | None) -> None:
            nonlocal said
            bar.total = total
            bar.update(done - bar.n)
            if not terminal and time.monotonic() - said >= EVERY_SECONDS:
                said = time.monotonic()
                share = f" of {total / 1e6:.0f}" if total else ""
                print(f"{name}: {done / 1e6:.0f}{share} MB", file=sys.stderr, flush=True)

        yield advance


def _by_hand(encoder: str) -> str:
    return f"without internet here, fetch it elsewhere and put it at {cached(encoder)}"
