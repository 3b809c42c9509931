"""Downloads pictures of NASA GIBS: complete, verified, written atomically, resumed by the same call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from cloudseg.core import atomic
from cloudseg.core.errors import CloudsegError, UsageError
from cloudseg.fetching import wms
from cloudseg.fetching.client import Answer, Broken, Client, PauseAsked, Refused
from cloudseg.fetching.plan import Picture
from preprocess.images import BLACK, ImageError, decode_image
from preprocess.progress import Progress

MOST_FAILURES = 5
"""After so many failed pictures in a row the service counts as down, and the rest is not tried."""
BLANK = "the picture is black or has one colour: the platform has no data of this region on this day"
NOT_LISTED = "the service lists no picture of this day"


class _WithoutData(Exception):
    """The service has no data of the scene."""


@dataclass
class Outcome:
    """What became of each picture. `without_data` and `failed` have picture and reason."""

    present: int = 0
    fetched: int = 0
    without_data: list[tuple[Picture, str]] = field(default_factory=list)
    failed: list[tuple[Picture, str]] = field(default_factory=list)
    not_tried: list[Picture] = field(default_factory=list)


def fetch(pictures: Sequence[Picture], out: Path, service: str, client: Client) -> Outcome:
    """Download the pictures that are not complete in `out` yet.

    Raises CloudsegError if the service cannot be reached, has no such layer, allows no picture of this size, or if a
    file cannot be written.
    """
    _prepare(out)
    absent = [picture for picture in pictures if not is_complete(out / picture.name, picture)]
    outcome = Outcome(present=len(pictures) - len(absent))
    if not absent:
        return outcome
    capabilities = _capabilities(service, client)
    _check(capabilities, absent)
    in_a_row = 0
    with Progress(len(absent)) as progress:
        for number, picture in enumerate(absent):
            try:
                if not capabilities.lists(picture.layer, picture.scene.day):
                    raise _WithoutData(NOT_LISTED)
                content = client.get(wms.map_url(service, picture), partial(_verified, picture), picture.name)
                atomic.write(out / picture.name, content)
                outcome.fetched, in_a_row = outcome.fetched + 1, 0
            except _WithoutData as error:
                outcome.without_data.append((picture, str(error)))
                in_a_row = 0
            except (Broken, Refused) as error:
                outcome.failed.append((picture, str(error)))
                in_a_row += 1
                if in_a_row == MOST_FAILURES or isinstance(error, PauseAsked):
                    outcome.not_tried = absent[number + 1 :]
                    break
            progress.advance(1)
    return outcome


def is_complete(path: Path, picture: Picture) -> bool:
    """Whether `path` is a whole JPEG of the picture's size."""
    try:
        return not _problem(path.read_bytes(), picture)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CloudsegError(f"{path} cannot be read: {error.strerror}; remove it, or choose another --out") from None


def is_blank(pixels: np.ndarray) -> bool:
    """Whether a picture has no data: all its pixels are near-black, or all have the same colour.

    `pixels`: uint8 (H, W, 3). Near-black: no channel above BLACK, as in the black band that `preprocess` finds.
    """
    return bool(pixels.max() <= BLACK or (pixels == pixels[0, 0]).all())


def _verified(picture: Picture, answer: Answer) -> bytes:
    """The bytes of a whole JPEG of the picture's size. Raises _WithoutData, Refused, or Broken if a retry may help."""
    if answer.kind != wms.JPEG:
        raise _reported(answer)
    if problem := _problem(answer.content, picture):
        raise Broken(f"the picture {problem}")
    if is_blank(decode_image(answer.content, half=False, any_size=True)):
        raise _WithoutData(BLANK)
    return answer.content


def _problem(content: bytes, picture: Picture) -> str:
    """Why the bytes are not a whole JPEG of the picture's size; "" if they are."""
    try:
        height, width, _ = decode_image(content, half=False, any_size=True).shape
    except ImageError as error:
        return str(error)
    if (width, height) == (picture.width, picture.height):
        return ""
    return f"is {width}x{height} in place of {picture.width}x{picture.height}"


def _reported(answer: Answer) -> Exception:
    """What to raise for an answer that is no picture."""
    try:
        exception = wms.parse_exception(answer.content)
    except wms.NotUnderstood:
        return Broken(f"the answer is {answer.kind or 'of unknown type'} in place of {wms.JPEG}")
    if exception.code == wms.NO_SUCH_DAY:
        return _WithoutData(str(exception))
    return (Refused if exception.code in wms.PERMANENT else Broken)(str(exception))


def _capabilities(service: str, client: Client) -> wms.Capabilities:
    url = wms.capabilities_url(service)

    def read(answer: Answer) -> wms.Capabilities:
        try:
            return wms.parse_capabilities(answer.content)
        except wms.NotUnderstood as error:
            raise Broken(f"the list of layers cannot be read: {error}") from None

    try:
        return client.get(url, read, "list of layers")
    except (Broken, Refused) as error:
        raise CloudsegError(f"{url}: {error}; type the same command again later") from None


def _check(capabilities: wms.Capabilities, pictures: Sequence[Picture]) -> None:
    for layer in wms.layers_of(pictures):
        if layer not in capabilities.periods:
            raise CloudsegError(f"the service has no layer {layer}; choose another --platform, or another --service")
    width, height = max(one.width for one in pictures), max(one.height for one in pictures)
    most_width, most_height = capabilities.max_width or width, capabilities.max_height or height
    if width > most_width or height > most_height:
        raise CloudsegError(
            f"pictures of {width}x{height} are larger than {most_width}x{most_height}, the service's limit; type a "
            "coarser --resolution, or a smaller region"
        )


def _prepare(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be made: {error.strerror}; choose another folder") from None
    atomic.remove_temporary_files(out, r".*\.jpeg")
