"""The Web Map Service of NASA GIBS: its URLs and XML documents, without any transfer.

Sources: OGC 06-042, Web Map Server Implementation Specification 1.3.0 (de la Beaujardiere, 2006); NASA, GIBS API
documentation, "Access Basics", 2025-11-13 (nasa-gibs.github.io/gibs-api-docs/access-basics).
"""

from __future__ import annotations

import datetime
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from cloudseg.fetching.plan import Picture

GIBS = "https://gibs.earthdata.nasa.gov/wms/epsg4326/best/wms.cgi"
"""The service's address: "best available" layers in EPSG:4326 (Access Basics, OGC Web Map Service)."""
JPEG = "image/jpeg"
NO_SUCH_DAY = "InvalidDimensionValue"
PERMANENT = frozenset(
    (
        NO_SUCH_DAY,
        "InvalidFormat",
        "InvalidCRS",
        "LayerNotDefined",
        "StyleNotDefined",
        "MissingDimensionValue",
        "OperationNotSupported",
    )
)
"""Codes of exceptions which the same request meets again (OGC 06-042, annex E)."""


class NotUnderstood(ValueError):
    """The document is not of the kind that the specification describes. The text says why."""


@dataclass(frozen=True)
class ServiceException:
    """What the service says in place of a picture. `code` is "" if it gives none."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}" if self.code else self.text


@dataclass(frozen=True)
class Period:
    """Every `step`-th day from `first` to `last`, both included."""

    first: datetime.date
    last: datetime.date
    step: int = 1

    def __contains__(self, day: datetime.date) -> bool:
        return self.first <= day <= self.last and (day - self.first).days % self.step == 0


@dataclass(frozen=True)
class Capabilities:
    """Layer -> its periods, in ascending order; and the largest picture in pixels, None if the service names none."""

    periods: dict[str, tuple[Period, ...]]
    max_width: int | None = None
    max_height: int | None = None

    def lists(self, layer: str, day: datetime.date) -> bool:
        """Whether the service may have a picture of `day`.

        False for a day between two periods or after the last: for such a day the service sends the picture of the
        nearest day (`nearestValue="1"`; Access Basics, Time Dimension). True for a day before all periods, because the
        service lists the latest 100 periods only.
        """
        periods = self.periods[layer]
        return not periods or day < periods[0].first or any(day in period for period in periods)


def capabilities_url(service: str) -> str:
    """URL of the document that lists layers and their days (OGC 06-042, 7.2)."""
    return _url(service, {"SERVICE": "WMS", "VERSION": "1.3.0", "REQUEST": "GetCapabilities"})


def map_url(service: str, picture: Picture) -> str:
    """URL of a picture (OGC 06-042, 7.3).

    In version 1.3.0 the axes of EPSG:4326 are latitude, then longitude, so BBOX is south,west,north,east (6.7.3).
    """
    scene = picture.scene
    return _url(
        service,
        {
            "SERVICE": "WMS",
            "VERSION": "1.3.0",
            "REQUEST": "GetMap",
            "LAYERS": picture.layer,
            "STYLES": "",
            "CRS": "EPSG:4326",
            "BBOX": ",".join(f"{value:.10g}" for value in (scene.south, scene.west, scene.north, scene.east)),
            "WIDTH": str(picture.width),
            "HEIGHT": str(picture.height),
            "FORMAT": JPEG,
            "BGCOLOR": "0x000000",
            "TIME": scene.day.isoformat(),
        },
    )


def parse_capabilities(document: bytes) -> Capabilities:
    """Read a WMS_Capabilities document of version 1.3.0. Raises NotUnderstood for anything else."""
    root = _root(document)
    if _tag(root) != "WMS_Capabilities":
        raise NotUnderstood(f"it is a {_tag(root)} in place of WMS_Capabilities")
    periods = {}
    for layer in root.findall(".//{*}Layer"):
        name = layer.findtext("{*}Name")
        if name:
            times = [one for one in layer.findall("{*}Dimension") if one.get("name", "").lower() == "time"]
            periods[name.strip()] = _periods("".join(one.text or "" for one in times))
    service = root.find("{*}Service")
    width, height = (_number(service, tag) for tag in ("MaxWidth", "MaxHeight"))
    return Capabilities(periods, width, height)


def parse_exception(document: bytes) -> ServiceException:
    """Read a ServiceExceptionReport (OGC 06-042, annex E). Raises NotUnderstood for anything else."""
    root = _root(document)
    element = root.find("{*}ServiceException")
    if _tag(root) != "ServiceExceptionReport" or element is None:
        raise NotUnderstood(f"it is a {_tag(root)} in place of a picture")
    return ServiceException(element.get("code", ""), " ".join("".join(element.itertext()).split())[:300])


def _url(service: str, parameters: dict[str, str]) -> str:
    return f"{service}{'&' if '?' in service else '?'}{urlencode(parameters, safe=':,/')}"


def _root(document: bytes) -> ET.Element:
    try:
        return ET.fromstring(document)
    except (ET.ParseError, LookupError, ValueError) as error:
        raise NotUnderstood(f"it is no XML document: {error}") from None


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _number(element: ET.Element | None, tag: str) -> int | None:
    text = "" if element is None else (element.findtext(f"{{*}}{tag}") or "").strip()
    return int(text) if text.isdecimal() and int(text) else None


def _periods(text: str) -> tuple[Period, ...]:
    """Periods of a list of days, or of FIRST/LAST/STEP (OGC 06-042, annexes C and D)."""
    return tuple(sorted((_period(part) for part in text.split(",") if part.strip()), key=lambda one: one.first))


def _period(text: str) -> Period:
    first, last, step = ([*text.strip().split("/"), "", ""])[:3]
    try:
        begin = datetime.date.fromisoformat(first[:10])
        end = datetime.date.fromisoformat(last[:10]) if last else begin
    except ValueError:
        raise NotUnderstood(f"its time dimension has {text.strip()!r}") from None
    days = re.fullmatch(r"P(\d+)D", step)
    return Period(begin, end, max(1, int(days[1])) if days else 1)


def layers_of(pictures: Sequence[Picture]) -> list[str]:
    """The layers of the pictures, each once."""
    return list(dict.fromkeys(picture.layer for picture in pictures))
