"""Downloads from a service that fails: what is there afterwards, what is named, and what the next run fetches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from cloudseg import fetch as command
from cloudseg.core.errors import CloudsegError, UsageError
from cloudseg.fetching.client import PAUSES, Client
from cloudseg.fetching.download import BLANK, NOT_LISTED, Outcome, fetch, is_blank
from cloudseg.fetching.plan import Bounds, Picture, parse_days, plan
from tests.unit.fetching.service import (
    Service,
    body,
    cut_file,
    exception,
    jpeg,
    reset,
    stall,
    status,
    truncated,
)

ROOT = Path(__file__).resolve().parents[3]
REGION = Bounds(-61, 10, -40, 24)
ALWAYS = 1 + len(PAUSES)
PAGE = body(b"<html><body>Please log in</body></html>", "text/html")


def pictures(days: str) -> list[Picture]:
    """Pictures of Terra of 42x28 pixels."""
    return plan(parse_days(days.split()), ["Terra"], REGION, 0.5)


def download(asked: list[Picture], out: Path, service: Service) -> Outcome:
    return fetch(asked, out, service.url, Client(0.0, 5.0, lambda seconds: None))


def days_of(found: list[tuple[Picture, str]]) -> dict[str, str]:
    return {picture.scene.day.isoformat(): reason for picture, reason in found}


def assert_only_whole_files(out: Path, expected: list[Picture]) -> None:
    assert {path.name for path in out.iterdir()} == {picture.name for picture in expected}
    for picture in expected:
        pixels = simplejpeg.decode_jpeg((out / picture.name).read_bytes(), "RGB", strict=True)
        assert pixels.shape == (28, 42, 3)


def test_a_hundred_days_with_ten_faults_are_all_there_or_named(service, tmp_path):
    asked = pictures("2009-01-01..2009-04-10")
    assert len(asked) == 100
    service.faults |= {
        "2009-01-03": [status(429, Retry_After="1")],
        "2009-01-10": [status(503)] * 2,
        "2009-01-17": [truncated],
        "2009-01-24": [cut_file],
        "2009-02-01": [PAGE],
        "2009-02-08": [body(jpeg(42, 14))],
        "2009-02-15": [reset],
        "2009-02-22": [body(exception("msDrawMap(): Image handling error. Failed to draw layer"), "text/xml")],
        "2009-03-01": [status(503)] * ALWAYS,
        "2009-03-08": [truncated] * ALWAYS,
    }
    service.blank = {"2009-03-15"}
    first = download(asked, tmp_path, service)
    assert days_of(first.failed) == {
        "2009-03-01": "HTTP 503 Service Unavailable",
        "2009-03-08": first.failed[1][1],
    }
    assert "the connection broke after" in first.failed[1][1]
    assert days_of(first.without_data) == {"2009-03-15": BLANK}
    assert (first.fetched, first.present, first.not_tried) == (97, 0, [])
    lacking = {"2009-03-01", "2009-03-08", "2009-03-15"}
    assert_only_whole_files(tmp_path, [one for one in asked if one.scene.day.isoformat() not in lacking])

    service.days.clear()
    second = download(asked, tmp_path, service)
    assert set(service.days) == {"", *lacking}
    assert len(service.days) == 1 + len(lacking)
    assert (second.fetched, second.present, second.failed) == (2, 97, [])
    assert_only_whole_files(tmp_path, [one for one in asked if one.scene.day.isoformat() != "2009-03-15"])


def test_a_complete_folder_needs_no_request(service, tmp_path):
    asked = pictures("2009-01-01..2009-01-02")
    download(asked, tmp_path, service)
    service.days.clear()
    assert download(asked, tmp_path, service).present == 2
    assert service.days == []


def test_a_half_file_of_another_tool_is_fetched_again(service, tmp_path):
    asked = pictures("2009-01-01..2009-01-02")
    download(asked, tmp_path, service)
    path = tmp_path / asked[0].name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert download(asked, tmp_path, service).fetched == 1
    assert path.read_bytes() == whole


def test_a_day_that_is_not_listed_is_named_and_not_asked_for(service, tmp_path):
    """The service would send the picture of the nearest day."""
    service.periods = "2000-02-24/2009-01-01/P1D,2009-01-03/2009-01-04/P1D"
    done = download(pictures("2009-01-01..2009-01-05"), tmp_path, service)
    assert days_of(done.without_data) == {"2009-01-02": NOT_LISTED, "2009-01-05": NOT_LISTED}
    assert service.days == ["", "2009-01-01", "2009-01-03", "2009-01-04"]


def test_a_day_that_the_service_says_it_lacks_is_named(service, tmp_path):
    said = exception("msWMSLoadGetMapParams(): Invalid time", "InvalidDimensionValue")
    service.faults["2009-01-01"] = [body(said, "text/xml")]
    done = download(pictures("2009-01-01"), tmp_path, service)
    assert "Invalid time" in days_of(done.without_data)["2009-01-01"]
    assert service.days == ["", "2009-01-01"]


def test_what_the_service_refuses_is_not_asked_again(service, tmp_path):
    said = exception("msWMSLoadGetMapParams(): Invalid format", "InvalidFormat")
    service.faults["2009-01-01"] = [body(said, "text/xml")]
    done = download(pictures("2009-01-01..2009-01-02"), tmp_path, service)
    assert list(days_of(done.failed)) == ["2009-01-01"]
    assert done.fetched == 1
    assert service.days == ["", "2009-01-01", "2009-01-02"]


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "text/xml"])
def test_a_picture_of_another_content_type_is_not_kept(service, tmp_path, kind):
    service.faults["2009-01-01"] = [body(jpeg(42, 28), kind)] * ALWAYS
    done = download(pictures("2009-01-01"), tmp_path, service)
    assert days_of(done.failed) == {"2009-01-01": f"the answer is {kind} in place of image/jpeg"}
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_no_jpeg_are_not_kept(service, tmp_path):
    service.faults["2009-01-01"] = [body(b"GIF89a")] * ALWAYS
    done = download(pictures("2009-01-01"), tmp_path, service)
    assert days_of(done.failed) == {"2009-01-01": "the picture is not a JPEG file"}
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_is_down_is_not_asked_for_every_day(service, tmp_path):
    asked = pictures("2009-01-01..2009-01-20")
    for picture in asked:
        service.faults[picture.scene.day.isoformat()] = [status(503)] * ALWAYS
    done = download(asked, tmp_path, service)
    assert (len(done.failed), len(done.not_tried)) == (5, 15)


def test_a_service_that_asks_for_a_long_pause_gets_no_further_request(service, tmp_path):
    service.faults["2009-01-02"] = [status(429, Retry_After="3600")]
    done = download(pictures("2009-01-01..2009-01-04"), tmp_path, service)
    assert service.days == ["", "2009-01-01", "2009-01-02"]
    assert "asks for a pause of 3600 s" in days_of(done.failed)["2009-01-02"]
    assert [picture.scene.day.day for picture in done.not_tried] == [3, 4]


def test_a_layer_that_the_service_does_not_have_is_named(service, tmp_path):
    service.layers = service.layers[1:]
    with pytest.raises(CloudsegError, match="the service has no layer MODIS_Terra_CorrectedReflectance_TrueColor"):
        download(pictures("2009-01-01"), tmp_path, service)


def test_a_picture_larger_than_the_service_allows_is_refused(service, tmp_path):
    service.most = 40
    with pytest.raises(CloudsegError, match="42x28 are larger than 40x40.*coarser --resolution"):
        download(pictures("2009-01-01"), tmp_path, service)


def test_a_list_of_layers_that_cannot_be_read_ends_the_command(service, tmp_path):
    service.faults[""] = [PAGE] * ALWAYS
    with pytest.raises(CloudsegError, match="list of layers cannot be read.*type the same command again later"):
        download(pictures("2009-01-01"), tmp_path, service)


def test_pictures_without_data_are_black_or_of_one_colour():
    dark = np.full((28, 42, 3), 10, np.uint8)
    dark[3, 4] = 3
    assert is_blank(dark)
    assert is_blank(np.full((28, 42, 3), 255, np.uint8))
    dark[3, 4] = 11
    assert not is_blank(dark)


# The command


def words(service: Service, out: Path, days: str = "2009-01-01..2009-01-02", *more: str) -> list[str]:
    region = ["--bounds", "-61", "10", "-40", "24", "--resolution", "0.5"]
    return ["--days", days, *region, "--out", str(out), "--service", service.url, "--every", "0", *more]


def test_the_command_says_what_it_fetched(service, tmp_path, capsys):
    command.main(words(service, tmp_path / "new"))
    assert capsys.readouterr().out == f"{tmp_path}/new: 4 pictures fetched, 0 were there, 0 without data\n"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"{platform}_CorrectedReflectance2009010{day}_-61--40_10-24.jpeg"
        for platform in ("Aqua", "Terra")
        for day in (1, 2)
    ]


def test_the_command_names_failed_days_and_what_to_type(service, tmp_path, capsys):
    given = words(service, tmp_path, "2009-01-01..2009-01-02", "--platform", "Terra")
    service.faults["2009-01-02"] = [status(400)]
    service.blank = {"2009-01-01"}
    with pytest.raises(CloudsegError) as error:
        command.main(given)
    assert error.value.exit_code == 1
    assert str(error.value).startswith(
        "1 of 2 pictures failed; to fetch them, type later: python -m cloudseg.fetch --d"
    )
    assert str(error.value).endswith(" ".join(given))
    said = capsys.readouterr().out
    assert "failed: Terra_CorrectedReflectance20090102_-61--40_10-24.jpeg: HTTP 400" in said
    assert f"without data: Terra_CorrectedReflectance20090101_-61--40_10-24.jpeg: {BLANK}" in said


def test_a_dry_run_prints_urls_and_bytes_and_sends_nothing(service, tmp_path, capsys):
    command.main(words(service, tmp_path / "new", "2009-01-01..2009-01-02", "--dry-run"))
    said = capsys.readouterr()
    urls = said.out.splitlines()
    assert len(urls) == 4
    assert all(url.startswith(f"{service.url}?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=MODIS_") for url in urls)
    assert "4 pictures of 42x28, 0 of them" in said.err
    assert "to fetch: 4, about 1129 bytes" in said.err
    assert service.days == []
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["--every", "0.5", "--service", "https://gibs.earthdata.nasa.gov/wms/epsg4326/best/wms.cgi"],
            "type 1 seconds",
        ),
        (["--every", "-1"], "type 0 seconds or more"),
        (["--timeout", "0"], "more than 0: --timeout 60"),
        (["--service", "ftp://host"], "type one that begins with https://"),
        (["--platform", "Landsat"], "type --platform Terra,Aqua"),
        (["--days", "2999-01-01"], "in the future"),
    ],
)
def test_wrong_options_are_refused_before_any_request(service, tmp_path, more, said):
    with pytest.raises(UsageError) as error:
        command.main(words(service, tmp_path, "2009-01-01", *more))
    assert said in str(error.value)
    assert service.days == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_download_leaves_no_half_file(service, tmp_path, number):
    service.faults["2009-01-02"] = [stall]
    given = words(service, tmp_path, "2009-01-01..2009-01-03", "--platform", "Terra")
    with subprocess.Popen(
        [sys.executable, "-m", "cloudseg.fetch", *given],
        cwd=ROOT,
        env=dict(os.environ),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        while service.days[-1:] != ["2009-01-02"]:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 75
    assert said.endswith("stopped; the same command resumes from here\n")
    assert_only_whole_files(tmp_path, pictures("2009-01-01"))
    assert download(pictures("2009-01-01..2009-01-03"), tmp_path, service).fetched == 2
