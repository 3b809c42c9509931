from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import io
import re
import socket
import struct
import sys
import threading
import types
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cloudseg import weights as command
from cloudseg.core.errors import CloudsegError, DataError, UsageError
from cloudseg.nets import download, names, weights
from cloudseg.nets.imagenet import Source

CONTENT = bytes(range(256)) * 40
PATIENCE = 30.0


class Publisher:
    """Publishes the weights of resnet18 on this machine, behind a redirection as GitHub does, and as ill as told."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.knows_ranges = True
        self.breaks: list[int] = []
        """After how many bytes of body each next answer's connection is closed; the rest are whole."""
        self.resets = False
        """Whether it then resets the connection rather than close it."""
        self.statuses: list[int] = []
        """Of the next answers; the rest are as they should be."""
        self.before_body: Callable[[], object] = lambda: None
        self.asked: list[str | None] = []
        """The range of every request for the file."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/releases/resnet18.h5"

    def _handler(publisher) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/releases/"):
                    self.answer(302, Location="/storage/resnet18.h5")
                    return
                asked = self.headers["Range"]
                publisher.asked.append(asked)
                start = int(asked[len("bytes=") : -1]) if asked and publisher.knows_ranges else 0
                size = len(publisher.content)
                if publisher.statuses:
                    self.answer(publisher.statuses.pop(0))
                elif start and start >= size:
                    self.answer(416, Content_Range=f"bytes */{size}")
                elif start:
                    self.send(206, publisher.content[start:], Content_Range=f"bytes {start}-{size - 1}/{size}")
                else:
                    self.send(200, publisher.content)

            def answer(self, status: int, length: int = 0, **headers: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                for key, value in headers.items():
                    self.send_header(key.replace("_", "-"), value)
                self.end_headers()

            def send(self, status: int, body: bytes, **headers: str) -> None:
                self.answer(status, len(body), **headers)
                publisher.before_body()
                whole = not publisher.breaks
                self.wfile.write(body if whole else body[: publisher.breaks.pop(0)])
                if not whole and publisher.resets:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no proxy and no patience."""
    monkeypatch.setenv("CLOUDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def publisher(monkeypatch):
    it = Publisher()
    threading.Thread(target=it.server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setitem(weights.IMAGENET, "resnet18", Source(it.url, hashlib.md5(CONTENT).hexdigest()))
    yield it
    it.server.shutdown()
    it.server.server_close()


@pytest.fixture
def part(publisher):
    """Where a download that is not finished lies."""
    file = weights.cached("resnet18")
    return file.with_name(f"{file.name}.part")


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["weights", *arguments])
    command.main()


def only_the_weights_are_there() -> bool:
    file = weights.cached("resnet18")
    return file.read_bytes() == CONTENT and list(file.parent.iterdir()) == [file]


def test_fetched_weights_are_what_jobs_look_for(publisher, monkeypatch):
    run(monkeypatch, "fetch", "unet-resnet18", "resnet18")
    assert only_the_weights_are_there()
    weights.require("imagenet", "resnet18")


def test_a_published_sha256_is_as_good_as_an_md5(publisher, monkeypatch):
    monkeypatch.setitem(weights.IMAGENET, "resnet18", Source(publisher.url, hashlib.sha256(CONTENT).hexdigest()))
    download.fetch("resnet18")
    assert only_the_weights_are_there()


def test_weights_that_are_there_are_not_fetched_again(publisher, capsys):
    download.fetch("resnet18")
    download.fetch("resnet18")
    assert "is there\n" in capsys.readouterr().out
    assert len(publisher.asked) == 1


def test_damaged_weights_are_fetched_again(publisher):
    download.fetch("resnet18")
    weights.cached("resnet18").write_bytes(b"damaged")
    download.fetch("resnet18")
    assert only_the_weights_are_there()


def test_a_download_that_broke_off_goes_on_at_the_next_command(publisher, part, monkeypatch):
    monkeypatch.setattr(download, "PAUSES", ())
    publisher.breaks = [1000]
    with pytest.raises(CloudsegError, match="broke after 1000 of 10240 bytes; the partial file is kept"):
        download.fetch("resnet18")
    assert part.read_bytes() == CONTENT[:1000]
    download.fetch("resnet18")
    assert publisher.asked == [None, "bytes=1000-"]
    assert only_the_weights_are_there()


@pytest.mark.parametrize("resets", [False, True], ids=["closed", "reset"])
def test_a_connection_that_breaks_twice_is_taken_up_again_by_itself(publisher, resets):
    publisher.resets = resets
    publisher.breaks = [1000, 0]
    download.fetch("resnet18")
    assert only_the_weights_are_there()


def test_a_server_that_is_overloaded_for_a_moment_is_asked_again(publisher):
    publisher.statuses = [503, 429]
    download.fetch("resnet18")
    assert only_the_weights_are_there()


def test_a_server_without_ranges_sends_everything_again(publisher):
    publisher.knows_ranges = False
    publisher.breaks = [1000]
    download.fetch("resnet18")
    assert publisher.asked == [None, "bytes=1000-"]
    assert only_the_weights_are_there()


@pytest.mark.parametrize(
    ("kept", "asked"), [(CONTENT, 1), (CONTENT + b"more", 2)], ids=["whole already", "longer than what is published"]
)
def test_what_is_kept_may_leave_nothing_to_send(publisher, part, kept, asked):
    part.parent.mkdir(parents=True)
    part.write_bytes(kept)
    download.fetch("resnet18")
    assert len(publisher.asked) == asked
    assert only_the_weights_are_there()


def test_another_digest_than_published_leaves_nothing_behind(publisher, cache):
    publisher.content = CONTENT[:-1] + b"?"
    with pytest.raises(CloudsegError, match=f"{publisher.url}: the downloaded file has another digest than published"):
        download.fetch("resnet18")
    assert list(cache.iterdir()) == []


def test_a_body_that_is_always_too_short_is_no_success(publisher):
    publisher.knows_ranges = False
    publisher.breaks = [10239] * 10
    with pytest.raises(CloudsegError, match="broke after 10239 of 10240 bytes"):
        download.fetch("resnet18")
    assert not weights.cached("resnet18").exists()


def test_what_the_server_does_not_have_is_asked_for_once(publisher, cache):
    publisher.statuses = [404] * 10
    with pytest.raises(CloudsegError, match=r"404.*copy it to .*resnet18\.h5"):
        download.fetch("resnet18")
    assert len(publisher.asked) == 1
    assert list(cache.iterdir()) == []


def test_without_internet_it_says_where_to_put_the_file(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/resnet18.h5"
    monkeypatch.setitem(weights.IMAGENET, "resnet18", Source(url, "0" * 32))
    with pytest.raises(CloudsegError, match=rf"{url}: .*refused; without internet access.* copy it to .*resnet18\.h5"):
        download.fetch("resnet18")


def test_a_cache_that_cannot_be_written_is_named(publisher, cache):
    cache.parent.write_text("a file, not a folder")
    with pytest.raises(CloudsegError, match=f"{cache}.*: Not a directory; .*CLOUDSEG_CACHE"):
        download.fetch("resnet18")


def test_of_two_fetches_at_once_the_second_waits_and_finds_the_file(publisher, monkeypatch):
    first_is_served, second_waits = threading.Event(), threading.Event()
    monkeypatch.setattr(sys, "stderr", Ear("waiting for another process", second_waits))

    def hold() -> None:
        first_is_served.set()
        assert second_waits.wait(PATIENCE)

    publisher.before_body = hold
    first, second = (threading.Thread(target=download.fetch, args=("resnet18",)) for _ in range(2))
    first.start()
    assert first_is_served.wait(PATIENCE)
    second.start()
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert len(publisher.asked) == 1
    assert only_the_weights_are_there()


class Ear(io.StringIO):
    """Sets an event when a text is written."""

    def __init__(self, text: str, heard: threading.Event) -> None:
        super().__init__()
        self.text, self.heard = text, heard

    def write(self, text: str) -> int:
        if self.text in text:
            self.heard.set()
        return super().write(text)


def test_a_log_gets_lines_of_progress(publisher, monkeypatch, capsys):
    monkeypatch.setattr(download, "EVERY_SECONDS", 0.0)
    publisher.content = bytes(3_000_000)
    with contextlib.suppress(CloudsegError):
        download.fetch("resnet18")
    said = capsys.readouterr().err
    assert "resnet18.h5: 3 of 3 MB\n" in said
    assert "\r" not in said


def test_a_terminal_gets_a_bar(publisher, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    download.fetch("resnet18")
    assert "\rresnet18.h5: 100%" in terminal.getvalue()


def test_the_list_says_what_is_here(publisher, monkeypatch, capsys):
    download.fetch("resnet18")
    weights.cached("resnet34").write_bytes(b"damaged")
    weights.cached("mobilenetv2").write_bytes(b"a file of one's own")
    weights.cached("vgg19").with_name(f"{weights.cached('vgg19').name}.part").write_bytes(bytes(2_500_000))
    capsys.readouterr()
    run(monkeypatch, "list")
    header, *lines, advice = capsys.readouterr().out.splitlines()
    rows = {row[0]: row[1:] for row in (re.split(r"  +", line) for line in lines)}
    assert re.split(r"  +", header) == ["encoder", "file", "size", "digest", "path", "published at"]
    assert tuple(rows) == names.ENCODERS
    size = f"{len(publisher.content) / 1e6:.1f} MB"
    assert rows["resnet18"] == ["present", size, "right", str(weights.cached("resnet18")), publisher.url]
    assert rows["resnet34"][:3] == ["present", "0.0 MB", "wrong"]
    assert rows["vgg16"][:2] == ["missing", str(weights.cached("vgg16"))]
    assert rows["vgg19"][:2] == ["partial", "2.5 MB"]
    assert rows["mobilenetv2"] == ["present", "0.0 MB", "none published", str(weights.cached("mobilenetv2")), "-"]
    assert "--set weights=FILE" in advice


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet43", "no encoder 'resnet43'; did you mean 'resnet34'?"),
        ("unet-resnet43", "no 'unet-resnet43'; did you mean 'unet-resnet34'?"),
        ("vanilla", "vanilla has no pretrained encoder"),
        ("mobilenet", "no digest is published for the weights of mobilenet"),
    ],
)
def test_what_cannot_be_fetched_is_refused_before_anything_is(publisher, monkeypatch, name, says):
    with pytest.raises(UsageError, match=says):
        run(monkeypatch, "fetch", "resnet18", name)
    assert publisher.asked == []


def test_a_job_without_its_weights_says_what_to_type(tmp_path):
    with pytest.raises(UsageError, match="cloudseg.weights fetch resnet34"):
        weights.require("imagenet", "resnet34")
    with pytest.raises(UsageError, match="my.h5 is not there"):
        weights.require(str(tmp_path / "my.h5"), "resnet34")
    weights.require("none", "resnet34")


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT])
def test_weights_that_are_cut_short_or_of_another_encoder_are_refused_at_launch_and_in_the_job(publisher, content):
    weights.cached("resnet34").parent.mkdir(parents=True, exist_ok=True)
    weights.cached("resnet34").write_bytes(content)  # CONTENT is what was published of resnet18
    says = "is damaged, or of another encoder; on the login node: python -m cloudseg.weights fetch resnet34"
    with pytest.raises(DataError, match=says):
        weights.require("imagenet", "resnet34")
    with pytest.raises(DataError, match=says):
        weights.load(None, (), "resnet34", "imagenet")


def test_no_two_encoders_share_a_file_of_the_cache():
    files = {weights.cached(encoder) for encoder in names.ENCODERS}
    assert len(files) == len(names.ENCODERS)


def test_the_table_is_what_segmentation_models_would_download(monkeypatch):
    """Its own code is run, on a Keras that builds nothing and notes which file it is to get."""
    package = importlib.util.find_spec("segmentation_models")
    if package is None or package.submodule_search_locations is None:
        pytest.skip("segmentation_models is not installed")
    backbones = types.ModuleType("backbones")  # importing the whole package would import TensorFlow
    backbones.__path__ = [str(Path(package.submodule_search_locations[0]) / "backbones")]
    monkeypatch.setitem(sys.modules, "backbones", backbones)
    factory = importlib.import_module("backbones.backbones_factory").Backbones
    assert {e: got for e in names.ENCODERS if (got := would_download(factory, e)).digest} == weights.IMAGENET


def would_download(factory, encoder: str) -> Source:
    class Nothing:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __getattr__(self, _: str) -> Nothing:
            return self

        def __call__(self, *_: object, **__: object) -> Nothing:
            return self

        def __getitem__(self, _: object) -> Nothing:
            return self

    class Backend(Nothing):
        def image_data_format(self) -> str:
            return "channels_last"

        def int_shape(self, _: object) -> tuple[int, ...]:
            return (1, 224, 224, 64)

    class Layers(Nothing):
        Dropout = Nothing  # to be inherited from

    class Utils(Nothing):
        def get_file(self, _: str, url: str, cache_subdir: str, md5_hash: str = "", file_hash: str = "") -> str:
            asked.append(Source(url, md5_hash or file_hash))
            return "file"

    asked: list[Source] = []
    kit = {"backend": Backend(), "layers": Layers(), "models": Nothing(), "utils": Utils()}
    factory.get_backbone(encoder, input_shape=(224, 224, 3), weights="imagenet", include_top=False, **kit)
    (source,) = asked
    return source
