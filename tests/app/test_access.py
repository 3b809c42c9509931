"""On a login node every user can connect to 127.0.0.1: what others get of the app, and what its owner gets."""

from __future__ import annotations

import http.server
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.app.conftest import PATIENCE_S, App, started
from tests.app.test_app import overlay, row, send

REQUESTS = [
    ("GET", "/"), ("HEAD", "/"), ("GET", "/images"), ("GET", "/no-such-page"), ("GET", "/_stcore/health"),
    ("GET", "/healthz"), ("GET", "/_stcore/metrics"), ("GET", "/_stcore/host-config"),
    ("GET", "/_stcore/script-health-check"), ("GET", "/favicon.png"), ("GET", "/static/js/none.js"),
    ("GET", "/media/none.png"), ("OPTIONS", "/_stcore/upload_file/session/file"),
    ("PUT", "/_stcore/upload_file/session/file"), ("POST", "/_stcore/upload_file/session/file"),
    ("DELETE", "/_stcore/upload_file/session/file"),
]  # fmt: skip


def status(url: str, method: str = "GET", cookie: str | None = None) -> int:
    request = urllib.request.Request(url, method=method, headers={} if cookie is None else {"Cookie": cookie})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def cookie(app: App, token: str | None = None) -> str:
    """The header of a browser that has opened the printed URL, or of one that has guessed."""
    return f"cloudseg-app-{app.address.rpartition(':')[2]}={app.token if token is None else token}"


def guesses(app: App) -> list[str | None]:
    return [None, cookie(app, ""), cookie(app, "guess"), cookie(app, app.token[:-1]), "cloudseg-app-1=" + app.token]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_stranger_is_refused_whatever_is_asked_for(app: App, method: str, path: str):
    assert {status(app.address + path, method, guess) for guess in guesses(app)} == {401}


def test_wrong_token_in_the_url_is_refused(app: App):
    for wrong in ("", "guess", app.token[:-1], app.token + "x", app.token.swapcase(), "%C3%A9", "%00"):
        assert status(f"{app.address}/?token={wrong}") == 401


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_token_in_the_url_opens_pages_and_takes_nothing_in(app: App, method: str):
    assert status(f"{app.address}/_stcore/upload_file/session/file?token={app.token}", method) == 401


def test_stranger_gets_no_websocket(app: App):
    stream = app.address.replace("http", "ws") + "/_stcore/stream"
    for guess in guesses(app):
        with pytest.raises(InvalidStatus, match="403"):
            connect(stream, additional_headers={} if guess is None else {"Cookie": guess})
    with connect(stream, additional_headers={"Cookie": cookie(app)}):
        pass


def test_stranger_who_knows_the_address_of_an_image_does_not_get_it(page: Page, app: App):
    expect(overlay(page)).to_be_visible()
    image = overlay(page).evaluate("img => img.src")
    assert "/media/" in image

    assert status(image) == 401
    assert status(image, cookie=cookie(app)) == 200


def test_stranger_sees_what_to_do_and_nothing_of_the_run(context: BrowserContext, app: App):
    page = context.new_page()
    page.goto("/")

    expect(page.get_by_text("Open the URL that it printed when it started")).to_be_visible()
    expect(page.get_by_text("Dice")).to_have_count(0)
    assert context.cookies() == []


def test_owner_reloads_uploads_and_opens_a_second_tab(page: Page, context: BrowserContext, picture: Path):
    page.reload()
    expect(overlay(page)).to_be_visible()
    send(page, "clouds.jpg", picture.read_bytes())
    expect(row(page, "Fish").locator("td").first).to_contain_text("%")

    second = context.new_page()
    second.goto("/data")

    expect(second.get_by_text("Images with two classes").first).to_be_visible()


def test_token_stays_between_browser_and_app(context: BrowserContext, app: App):
    page, referers = context.new_page(), []
    page.on("request", lambda request: referers.append(request.headers.get("referer", "")))
    page.goto(app.url)
    expect(page).to_have_url(f"{app.address}/")
    expect(overlay(page)).to_be_visible()

    (kept,) = (each for each in context.cookies() if each["value"] == app.token)
    assert kept["httpOnly"] and kept["sameSite"] == "Strict" and kept["expires"] == -1
    assert app.token not in page.evaluate("document.cookie + document.referrer + location.href")
    assert app.token not in "".join(referers)
    page.go_back()
    assert app.token not in page.url


def test_printed_url_keeps_page_and_parameters(context: BrowserContext, app: App):
    page = context.new_page()
    page.goto(f"/data?a=1%262&token={app.token}&b=%22%3E")

    expect(page).to_have_url(f"{app.address}/data?a=1%262&b=%22%3E")
    expect(page.get_by_text("Images with two classes").first).to_be_visible()


@pytest.fixture
def other_site(app: App, tmp_path: Path) -> Iterator[str]:
    """Another site's page with a link to the app, as a JupyterHub's terminal or a webmail shows it."""
    (tmp_path / "index.html").write_text(f'<a href="{app.url}">the app</a>')

    class Pages(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=tmp_path)  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_link_to_the_app_on_another_site_opens_it(context: BrowserContext, app: App, other_site: str):
    page = context.new_page()
    page.goto(other_site)
    page.get_by_text("the app").click()

    expect(page).to_have_url(f"{app.address}/")
    expect(overlay(page)).to_be_visible()


def test_two_apps_on_one_host_do_not_log_each_other_out(page: Page, run: Path, tmp_path: Path):
    with started(run, tmp_path / "second.log") as second:
        other = page.context.new_page()
        other.goto(second.url)
        expect(overlay(other)).to_be_visible()
        page.reload()
        expect(overlay(page)).to_be_visible()
        other.reload()
        expect(overlay(other)).to_be_visible()


def test_other_users_cannot_read_the_token_from_the_command_line_or_a_log(page: Page, app: App):
    expect(overlay(page)).to_be_visible()
    status(f"{app.address}/?token={app.token}")
    process = Path("/proc") / str(app.process.pid)
    assert app.token not in (process / "cmdline").read_text()
    assert app.log.read_text().count(app.token) == 1  # the URL that was printed


def test_proxy_that_asks_by_itself_needs_no_token(context: BrowserContext, run: Path, tmp_path: Path):
    with started(run, tmp_path / "open.log", "--no-token") as app:
        assert app.url == f"{app.address}/"
        assert "everybody who can connect" in app.log.read_text()
        page = context.new_page()
        page.goto(app.url)
        expect(overlay(page)).to_be_visible()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_app_ends_on_a_signal_while_a_browser_is_open(context: BrowserContext, run: Path, tmp_path: Path, number: int):
    with started(run, tmp_path / "ended.log") as app:
        page = context.new_page()
        page.goto(app.url)
        expect(overlay(page)).to_be_visible()
        app.process.send_signal(number)
        assert app.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in app.log.read_text()
