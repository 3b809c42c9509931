"""How often requests are sent, which are repeated, and what is said when no service answers."""

from __future__ import annotations

import datetime
import email.utils
import socket
import time

import pytest

from cloudseg.core.errors import CloudsegError
from cloudseg.fetching.client import PAUSES, Broken, Client, PauseAsked, Refused, retry_after
from tests.unit.fetching.service import reset, stall, status, truncated

DAY = "2009-01-22"
QUERY = (
    f"?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=MODIS_Aqua_CorrectedReflectance_TrueColor&STYLES=&CRS=EPSG:4326"
    f"&BBOX=10,-61,24,-40&WIDTH=42&HEIGHT=28&FORMAT=image/jpeg&BGCOLOR=0x000000&TIME={DAY}"
)


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def client(clock: Clock, every: float = 0.0, timeout: float = 5.0) -> Client:
    return Client(every, timeout, clock.sleep, clock)


def test_requests_have_a_distance_in_time(service):
    clock = Clock()
    own = client(clock, every=3.0)
    for _ in range(4):
        own.get(service.url + QUERY, lambda answer: 1, DAY)
    assert clock.slept == [3.0, 3.0, 3.0]


def test_time_that_has_passed_is_not_waited_again(service):
    clock = Clock()
    own = client(clock, every=3.0)
    own.get(service.url + QUERY, lambda answer: 1, DAY)
    clock.now += 10
    own.get(service.url + QUERY, lambda answer: 1, DAY)
    assert clock.slept == []


@pytest.mark.parametrize("fault", [status(429), status(503), status(500), truncated, reset])
def test_a_passing_fault_is_repeated_after_a_growing_pause(service, fault, capsys):
    clock = Clock()
    service.faults[DAY] = [fault, fault]
    answer = client(clock).get(service.url + QUERY, lambda answer: answer, DAY)
    assert answer.kind == "image/jpeg"
    assert clock.slept == list(PAUSES[:2])
    assert capsys.readouterr().err.count("; retrying in ") == 2


def test_a_fault_that_stays_is_the_error(service):
    clock = Clock()
    service.faults[DAY] = [status(503)] * 9
    with pytest.raises(Broken, match="HTTP 503 Service Unavailable"):
        client(clock).get(service.url + QUERY, lambda answer: 1, DAY)
    assert len(service.days) == 1 + len(PAUSES)


def test_the_pause_that_the_service_asks_for_is_kept(service):
    clock = Clock()
    service.faults[DAY] = [status(429, Retry_After="77")]
    client(clock).get(service.url + QUERY, lambda answer: 1, DAY)
    assert clock.slept == [77.0]


def test_a_long_pause_is_not_waited(service):
    service.faults[DAY] = [status(429, Retry_After="3600")]
    with pytest.raises(PauseAsked, match=r"asks for a pause of 3600 s \(HTTP 429 Too Many Requests\)"):
        client(Clock()).get(service.url + QUERY, lambda answer: 1, DAY)
    assert len(service.days) == 1


def test_a_refusal_is_not_repeated(service):
    service.faults[DAY] = [status(404)] * 2
    with pytest.raises(Refused, match="HTTP 404"):
        client(Clock()).get(service.url + QUERY, lambda answer: 1, DAY)
    assert len(service.days) == 1


def test_a_transfer_that_stands_still_is_repeated(service):
    service.faults[DAY] = [stall]
    begun = time.monotonic()
    assert client(Clock(), timeout=0.3).get(service.url + QUERY, lambda answer: answer.kind, DAY) == "image/jpeg"
    assert time.monotonic() - begun < 10


def test_a_refused_connection_says_that_this_node_may_have_no_internet():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    clock = Clock()
    with pytest.raises(CloudsegError, match="cannot be reached: .*refused.*no internet, run it on a login node"):
        client(clock).get(url, lambda answer: 1, DAY)
    assert clock.slept == []


def test_a_name_that_is_not_resolved_says_so(monkeypatch):
    monkeypatch.delenv("http_proxy", raising=False)
    with pytest.raises(CloudsegError, match="nowhere.invalid cannot be reached: .*login node"):
        client(Clock()).get("http://nowhere.invalid/", lambda answer: 1, DAY)


def test_a_service_that_was_reached_before_is_tried_again(service):
    clock = Clock()
    own = client(clock)
    own.get(service.url + QUERY, lambda answer: 1, DAY)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    with pytest.raises(Broken, match="refused"):
        own.get(url, lambda answer: 1, DAY)
    assert clock.slept == list(PAUSES)


def test_a_pause_is_given_in_seconds_or_as_a_date():
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    assert retry_after(email.utils.format_datetime(later, usegmt=True)) == pytest.approx(100, abs=5)
    assert retry_after("120") == 120
    assert [retry_after(text) for text in (None, "", "soon", "-5", "Wed, 21 Oct 2015 07:28:00 GMT")] == [0] * 5
