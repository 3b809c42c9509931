"""Where ranks meet: only those who are named in the attempt's folder are heard."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request

import pytest

from cloudseg.core import attempt
from cloudseg.core.attempt import Attempt
from cloudseg.training import rendezvous
from cloudseg.training.placement import Placement

TWO = Placement(rank=0, local_rank=0, node=0, tasks_per_node=(2,))


def put(address: str, port: int, secret: str) -> int:
    request = urllib.request.Request(f"http://{address}:{port}/{secret}.global/0", data=b"x", method="PUT")
    return urllib.request.urlopen(request, timeout=5).status


@pytest.fixture
def meeting(tmp_path):
    return Attempt.of(tmp_path, "a")


def test_it_listens_on_one_address_and_while_all_meet(meeting):
    with rendezvous.joined(TWO, meeting):
        place = json.loads(meeting.rendezvous.read_text())
        assert place["address"] == "127.0.0.1"
        assert put(**place) == 200
    assert not meeting.rendezvous.exists()
    with pytest.raises(urllib.error.URLError):
        put(**place)


def test_an_address_that_no_rank_wrote_down_is_not_answered(meeting):
    with rendezvous.joined(TWO, meeting):
        place = json.loads(meeting.rendezvous.read_text())
        meeting.address(0).unlink()
        with pytest.raises((urllib.error.URLError, ConnectionError, TimeoutError)):
            put(**place)


@pytest.mark.parametrize("secret", ["", "0" * 64, "guess"])
def test_who_does_not_know_the_secret_is_not_answered_from_a_ranks_address_either(meeting, capsys, secret):
    with rendezvous.joined(TWO, meeting):
        place = json.loads(meeting.rendezvous.read_text())
        with pytest.raises(urllib.error.HTTPError, match="403"):
            put(**{**place, "secret": secret})
        assert put(**place) == 200
    assert "request of 127.0.0.1 without the attempt's secret" in capsys.readouterr().err


def test_every_attempt_has_another_secret(tmp_path):
    found = set()
    for key in ("a", "b"):
        meeting = Attempt.of(tmp_path, key)
        with rendezvous.joined(TWO, meeting):
            found.add(json.loads(meeting.rendezvous.read_text())["secret"])
            assert os.environ["HOROVOD_GLOO_SECRET"] in found
    assert len(found) == 2


def test_the_folder_is_its_owners_alone(tmp_path):
    made: list[Attempt] = []
    threads = [threading.Thread(target=lambda: made.append(Attempt.of(tmp_path, "a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.folder.stat().st_mode & 0o777 for each in made} == {0o700}


def test_the_first_reason_for_an_end_stays(meeting):
    meeting.end(1, attempt.FAILED, "loss is nan")
    meeting.end(1, attempt.LOST, "others left")
    assert [(end.rank, end.how, end.reason) for end in meeting.ends()] == [(1, "failed", "loss is nan")]


def test_a_file_that_is_half_written_is_no_sign_of_life(meeting):
    meeting.heartbeat(0).write_text('{"rank"')
    meeting.heartbeat(1).write_text('{"rank": 1}')
    assert meeting.heartbeats() == {1: {"rank": 1}}


def test_what_earlier_starts_of_a_job_left_goes_and_nothing_else(tmp_path):
    for key in ("7-aa", "77-bb", "local-cc"):
        Attempt.of(tmp_path, key)
    attempt.remove_earlier(tmp_path, {"SLURM_JOB_ID": "7"})  # a job of the user, who may be at work
    assert (tmp_path / "attempts" / "7-aa").exists()
    attempt.remove_earlier(tmp_path, {"SLURM_JOB_ID": "7", "CLOUDSEG_JOB": "7"})
    assert sorted(path.name for path in (tmp_path / "attempts").iterdir()) == ["77-bb", "local-cc"]
