"""The service's URLs and documents. The examples are those of its documentation (docs/fetch.md cites it)."""

from __future__ import annotations

import datetime

import pytest

from cloudseg.fetching import wms
from cloudseg.fetching.plan import Bounds, plan
from tests.unit.fetching.service import CAPABILITIES, LAYER, exception

DAY = datetime.date(2009, 1, 22)
TERRA = "MODIS_Terra_CorrectedReflectance_TrueColor"


def capabilities(periods: str) -> wms.Capabilities:
    layers = LAYER.format(name=TERRA, periods=periods)
    return wms.parse_capabilities(CAPABILITIES.format(layers=layers, most=4096).encode())


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def test_the_url_of_a_picture_has_latitude_first():
    (picture,) = plan([DAY], ["Aqua"], Bounds(-61, 10, -40, 24), 0.01)
    assert wms.map_url(wms.GIBS, picture) == (
        "https://gibs.earthdata.nasa.gov/wms/epsg4326/best/wms.cgi?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap"
        "&LAYERS=MODIS_Aqua_CorrectedReflectance_TrueColor&STYLES=&CRS=EPSG:4326&BBOX=10,-61,24,-40"
        "&WIDTH=2100&HEIGHT=1400&FORMAT=image/jpeg&BGCOLOR=0x000000&TIME=2009-01-22"
    )


def test_parameters_are_added_to_those_of_the_service():
    assert wms.capabilities_url("http://host/wms?map=a") == (
        "http://host/wms?map=a&SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities"
    )


def test_capabilities_list_layers_days_and_the_largest_picture():
    found = capabilities("2013-07-16/2018-11-14/P1D")
    assert found.periods == {
        TERRA: (wms.Period(day("2013-07-16"), day("2018-11-14")),),
        "NASA_GIBS_4326": (),
    }
    assert (found.max_width, found.max_height) == (4096, 4096)


@pytest.mark.parametrize(
    ("asked", "listed"),
    [
        ("2018-05-25", True),  # before the latest 100 periods, which alone are listed
        ("2018-05-26", True),
        ("2018-11-03", True),
        ("2018-11-04", False),  # the service would send the nearest day
        ("2019-08-23", True),
        ("2021-09-03", True),
        ("2021-09-04", False),
        ("2021-09-08", True),
    ],
)
def test_days_between_periods_and_after_them_are_not_listed(asked, listed):
    times = "2019-08-23T00:00:00Z/2021-09-03T00:00:00Z/P1D,2018-05-26/2018-11-03/P1D,2021-09-08"
    assert capabilities(times).lists(TERRA, day(asked)) is listed


def test_a_period_of_every_second_day_has_every_second_day():
    found = capabilities("2018-05-01/2018-05-09/P2D")
    assert [found.lists(TERRA, day(f"2018-05-0{number}")) for number in (1, 2, 3)] == [True, False, True]


@pytest.mark.parametrize("document", [b"", b"<html><body>a page</html>", b"<html/>", exception("no")])
def test_another_document_is_not_taken_for_capabilities(document):
    with pytest.raises(wms.NotUnderstood):
        wms.parse_capabilities(document)


def test_days_that_are_none_are_not_understood():
    with pytest.raises(wms.NotUnderstood, match="its time dimension has 'yesterday'"):
        capabilities("yesterday")


def test_an_exception_has_code_and_text():
    found = wms.parse_exception(exception("msWMSLoadGetMapParams(): WMS server error.\n Invalid", "LayerNotDefined"))
    assert str(found) == "LayerNotDefined: msWMSLoadGetMapParams(): WMS server error. Invalid"
    assert wms.parse_exception(exception("msDrawMap(): Image handling error.")).code == ""


def test_an_exception_of_version_1_1_1_is_read_too():
    element = b'<ServiceException code="X">t</ServiceException>'
    document = b'<ServiceExceptionReport version="1.1.1">' + element + b"</ServiceExceptionReport>"
    assert wms.parse_exception(document) == wms.ServiceException("X", "t")


@pytest.mark.parametrize("document", [b"", b"<html><p>Bad gateway</p></html>", b"\xff\xd8\xff"])
def test_another_document_is_no_exception(document):
    with pytest.raises(wms.NotUnderstood):
        wms.parse_exception(document)
