"""Downloads ImageNet weights: verified by digest, written atomically, resumed after an interruption."""

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
"""Seconds to wait before each retry after a broken connection."""
TIMEOUT = 30.0
"""Seconds without data after which a connection counts as broken."""
EVERY_SECONDS = 10.0
"""Seconds between two progress lines in a log."""
BLOCK = 1 << 20


def fetch(encoder: str) -> None:
    """Download the weights of `encoder` unless they are in the cache. A partial download is resumed.

    Raises CloudsegError if the download fails, the file's digest is not the published one, or it cannot be written.
    """
    source, file = IMAGENET[encoder], cached(encoder)
    try:
        if source.matches(file):
            print(f"{file} is there")
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with _opened_exclusively(file.with_name(f"{file.name}.part")) as part:
            if not source.matches(file):  # another process may have downloaded it while this one waited
                print(f"fetching {source.url}", flush=True)
                _complete(part, encoder)
                if not source.matches(Path(part.name)):
                    part.truncate(0)
                    raise CloudsegError(
                        f"{source.url}: the downloaded file has another digest than published and is deleted; type the "
                        f"command again. If a proxy sends a page of its own, {_by_hand(encoder)}"
                    )
                with replacing(file) as temporary:
                    Path(part.name).rename(temporary)
    except OSError as error:
        raise CloudsegError(
            f"{error.filename or file}: {os.strerror(error.errno or 0)}; free space (see df and your quota) or set "
            "CLOUDSEG_CACHE to another folder that compute nodes see, then type the command again"
        ) from error
    print(f"{file} is downloaded")


@contextmanager
def _opened_exclusively(path: Path) -> Iterator[BinaryIO]:
    """Context with `path` open for appending, in one process at a time. A file that is empty at the end is removed."""
    while True:
        with path.open("ab") as file:
            _lock(file)
            if not _is_file_of(path, file):
                continue
            try:
                yield file
            finally:
                file.flush()
                if os.fstat(file.fileno()).st_size == 0:
                    path.unlink(missing_ok=True)
            return


def _is_file_of(path: Path, file: BinaryIO) -> bool:
    """Whether `path` still is the open `file`: another process may have renamed or removed it during the wait."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: BinaryIO) -> None:
    # Some file systems have no locks; there, two concurrent downloads end with a wrong digest.
    with suppress(OSError):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{file.name}: waiting for another process that downloads it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)


def _complete(part: BinaryIO, encoder: str) -> None:
    """Download the rest of `part`. Raises CloudsegError if the server refuses or the connection breaks too often."""
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
                kept = "the partial file is kept, and the same command resumes it; " if part.tell() else ""
                raise CloudsegError(f"{url}: {error}; {kept}{_by_hand(encoder)}") from None
            print(f"{url}: {error}; retrying in {pause:.0f} s", file=sys.stderr, flush=True)
            time.sleep(pause)


class _Refused(Exception):
    """The server refuses the request; a retry would not help."""


class _Broken(Exception):
    """The connection broke or could not be made; a retry may help."""


def _blocks(url: str, start: int) -> Iterator[tuple[int, int | None, bytes]]:
    """Yield the content of `url` from byte `start` on, or from 0 if the server does not support ranges.

    Yields (position, size of the whole file or None if unknown, block). Raises _Refused, _Broken.
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
                raise _Broken(f"the connection broke after {position} of {total} bytes")
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            if error.headers["Content-Range"] != f"bytes */{start}":  # otherwise the file is complete
                yield from _blocks(url, 0)
        elif error.code >= 500 or error.code in (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS):
            raise _Broken(str(error)) from None
        else:
            raise _Refused(str(error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(str(getattr(error, "reason", error)) or type(error).__name__) from None


@contextmanager
def _progress(name: str, start: int) -> Iterator[Callable[[int, int | None], None]]:
    """Context with a function to call with (bytes done, total bytes or None). It shows a progress bar on a terminal,
    and prints a line every EVERY_SECONDS in a log."""
    last_line = time.monotonic()
    terminal = sys.stderr.isatty()
    with tqdm(desc=name, initial=start, unit="B", unit_scale=True, dynamic_ncols=True, disable=not terminal) as bar:

        def advance(done: int, total: int | None) -> None:
            nonlocal last_line
            bar.total = total
            bar.update(done - bar.n)
            if not terminal and time.monotonic() - last_line >= EVERY_SECONDS:
                last_line = time.monotonic()
                share = f" of {total / 1e6:.0f}" if total else ""
                print(f"{name}: {done / 1e6:.0f}{share} MB", file=sys.stderr, flush=True)

        yield advance


def _by_hand(encoder: str) -> str:
    return f"without internet access here, download it elsewhere and copy it to {cached(encoder)}"
