"""A local Web Map Service that answers as the documentation of NASA GIBS says, and fails when told to."""

from __future__ import annotations

import datetime
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import simplejpeg

LAYERS = ("MODIS_Terra_CorrectedReflectance_TrueColor", "MODIS_Aqua_CorrectedReflectance_TrueColor")
CAPABILITIES = """<?xml version='1.0' encoding="UTF-8" standalone="no" ?>
<WMS_Capabilities version="1.3.0" xmlns="http://www.opengis.net/wms">
<Service><Name>WMS</Name><LayerLimit>5</LayerLimit><MaxWidth>{most}</MaxWidth><MaxHeight>{most}</MaxHeight></Service>
<Capability><Layer queryable="1"><Name>NASA_GIBS_4326</Name><CRS>EPSG:4326</CRS>{layers}</Layer></Capability>
</WMS_Capabilities>"""
LAYER = """<Layer queryable="0"><Name>{name}</Name>
<Dimension name="time" units="ISO8601" default="2009-12-31" nearestValue="1">{periods}</Dimension></Layer>"""
EXCEPTION = """<?xml version='1.0' encoding="UTF-8" standalone="no" ?>
<ServiceExceptionReport version="1.3.0" xmlns="http://www.opengis.net/ogc">
<ServiceException{code}>
{text}
</ServiceException>
</ServiceExceptionReport>"""
"""As MapServer, which GIBS runs, writes it; the HTTP status is 200."""
MAP = {"SERVICE": "WMS", "VERSION": "1.3.0", "REQUEST": "GetMap", "CRS": "EPSG:4326", "FORMAT": "image/jpeg",
       "STYLES": "", "BGCOLOR": "0x000000"}  # fmt: skip


def jpeg(width: int, height: int, seed: int = 0, blank: bool = False) -> bytes:
    """A picture of random blocks, or a black one."""
    blocks = np.random.default_rng(seed).integers(40, 255, (-(-height // 8), -(-width // 8), 3), np.uint8)
    pixels = np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width] * np.uint8(not blank)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=90)


def exception(text: str, code: str = "") -> bytes:
    return EXCEPTION.format(code=f' code="{code}"' if code else "", text=text).encode()


@dataclass
class Service:
    """`faults`: day -> what is sent in place of its picture, one per request. `blank`: days with a black picture."""

    url: str = ""
    periods: str = "2000-02-24/2009-12-31/P1D"
    most: int = 4096
    layers: tuple[str, ...] = LAYERS
    faults: dict[str, list[Callable[[BaseHTTPRequestHandler, bytes], None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    blank: set[str] = field(default_factory=set)
    days: list[str] = field(default_factory=list)
    """The day of each GetMap request, in order; "" for GetCapabilities."""

    def answer(self, query: dict[str, str], handler: BaseHTTPRequestHandler) -> None:
        if query.get("REQUEST") == "GetCapabilities":
            self.days.append("")
            layers = "".join(LAYER.format(name=name, periods=self.periods) for name in self.layers)
            document = CAPABILITIES.format(layers=layers, most=self.most).encode()
            if self.faults[""]:
                self.faults[""].pop(0)(handler, document)
                return
            send(handler, document, "text/xml; charset=UTF-8")
            return
        day = query["TIME"]
        self.days.append(day)
        if wrong := problem(query, self.layers):
            send(
                handler, exception(f"msWMSLoadGetMapParams(): WMS server error. {wrong}", "LayerNotDefined"), "text/xml"
            )
            return
        seed = datetime.date.fromisoformat(day).toordinal()
        picture = jpeg(int(query["WIDTH"]), int(query["HEIGHT"]), seed, day in self.blank)
        if self.faults[day]:
            self.faults[day].pop(0)(handler, picture)
            return
        send(handler, picture)


def problem(query: dict[str, str], layers: tuple[str, ...]) -> str:
    """What is wrong with a GetMap request of version 1.3.0, where BBOX is south,west,north,east."""
    for name, value in MAP.items():
        if query.get(name) != value:
            return f"{name} is {query.get(name)}"
    if query["LAYERS"] not in layers:
        return "Invalid layer(s) given in the LAYERS parameter."
    south, west, north, east = map(float, query["BBOX"].split(","))
    if not (-90 <= south < north <= 90 and -180 <= west < east <= 180):
        return "Invalid values for BBOX."
    if abs((east - west) / int(query["WIDTH"]) - (north - south) / int(query["HEIGHT"])) > 1e-6:
        return "The pixels are not square."
    return ""


def send(handler: BaseHTTPRequestHandler, body: bytes, kind: str = "image/jpeg", length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    def fault(handler: BaseHTTPRequestHandler, picture: bytes) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return fault


def body(content: bytes, kind: str = "image/jpeg") -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    return lambda handler, picture: send(handler, content, kind)


def truncated(handler: BaseHTTPRequestHandler, picture: bytes) -> None:
    """The connection ends before the announced length."""
    send(handler, picture[: len(picture) // 2], length=len(picture))


def cut_file(handler: BaseHTTPRequestHandler, picture: bytes) -> None:
    """The announced length is that of half a file."""
    send(handler, picture[: len(picture) // 2])


def reset(handler: BaseHTTPRequestHandler, picture: bytes) -> None:
    handler.close_connection = True


def stall(handler: BaseHTTPRequestHandler, picture: bytes) -> None:
    """Half the picture arrives, and then nothing."""
    send(handler, picture[: len(picture) // 2], length=len(picture))
    handler.wfile.flush()
    time.sleep(20)


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer would also ask a name server for this host's name


class Server:
    """Context manager: the service on a free port of 127.0.0.1."""

    def __init__(self, service: Service) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                service.answer(dict(parse_qsl(parts.query, keep_blank_values=True)), self)

            def log_message(self, *words: object) -> None:
                pass

        self._server = _HTTPServer(("127.0.0.1", 0), Handler)
        service.url = f"http://127.0.0.1:{self._server.server_address[1]}/wms/epsg4326/best/wms.cgi"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.block_on_close = False
        self._server.shutdown()
        self._server.server_close()
