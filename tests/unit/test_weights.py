from __future__ import annotations

import hashlib
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest

from cloudseg import weights as command
from cloudseg.errors import CloudsegError, UsageError
from cloudseg.nets import weights

CONTENT = b"weights" * 1000


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A server that publishes the weights of resnet18; returns where they lie on it."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "resnet18.h5").write_bytes(CONTENT)

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(served))

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/resnet18.h5"
    digest = hashlib.md5(CONTENT).hexdigest()
    monkeypatch.setitem(weights.IMAGENET, "resnet18", weights.Source(url, digest))
    monkeypatch.setenv("CLOUDSEG_CACHE", str(tmp_path / "cache"))
    yield served / "resnet18.h5"
    server.shutdown()
    server.server_close()


def test_fetched_weights_are_what_jobs_look_for(published):
    command.fetch("unet-resnet18")
    assert weights.cached("resnet18").read_bytes() == CONTENT
    weights.require("imagenet", "resnet18")


def test_weights_that_are_there_are_not_fetched_again(published, capsys):
    command.fetch("resnet18")
    published.unlink()
    command.fetch("resnet18")
    assert "is there" in capsys.readouterr().out


def test_another_digest_than_published_leaves_nothing_behind(published):
    published.write_bytes(CONTENT[:-1])
    with pytest.raises(CloudsegError, match="another digest than published"):
        command.fetch("resnet18")
    assert list(weights.cached("resnet18").parent.iterdir()) == []


def test_without_internet_it_says_where_to_put_the_file(published):
    published.unlink()
    with pytest.raises(CloudsegError, match="put it at"):
        command.fetch("resnet18")


def test_a_job_without_its_weights_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setenv("CLOUDSEG_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="cloudseg.weights fetch resnet34"):
        weights.require("imagenet", "resnet34")
    with pytest.raises(UsageError, match="my.h5 is not there"):
        weights.require(str(tmp_path / "my.h5"), "resnet34")
    weights.require("none", "resnet34")
