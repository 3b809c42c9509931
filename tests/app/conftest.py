"""A tiny run, trained and scored by the commands that users type, the app on it, and a real Chromium to look at it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import TRUTH_SIZE
from cloudseg.results import postprocess
from cloudseg.results.postprocess import Rule
from cloudseg.showcase import evaluated
from tests import processes

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_S = 240
"""How long anything may take on a machine that is busy with other work."""


def environment() -> dict[str, str]:
    """Ours, without what would change a run, and without GPUs."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CLOUDSEG_", "SLURM_", "HOROVOD_", "STREAMLIT_"))}
    return {**clean, "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One stage of one epoch on fifteen generated images, scored."""
    folder = tmp_path_factory.mktemp("app")
    demo, shards, out = (str(folder / name) for name in ("demo", "shards", "tiny"))
    settings = ("network=unet-resnet18", "weights=none", "recipe=demo", "batch=2", 'stages=["frozen"]',
                "stage.frozen.epochs=1")  # fmt: skip
    for command in (
        ["cloudseg.demo", "--out", demo, "--images", "15", "--test-images", "1"],
        ["preprocess", "--csv", f"{demo}/train.csv", "--images", f"{demo}/train_images", "--out", shards,
         "--size", "64x96", "--shards", "2", "--folds", "3"],
        ["cloudseg.launch", "--stages", "all", "--cluster", "local", "--tasks-per-node", "1", "--run", out,
         "--data", shards, *(part for setting in settings for part in ("--set", setting))],
    ):  # fmt: skip
        done = processes.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    foresee(evaluated.load(Path(out)))
    return Path(out)


def foresee(scored: evaluated.Evaluated) -> None:
    """Plain rules, and probabilities that rise from left to right: what such a network says is chance."""
    rules = postprocess.to_table([Rule()] * len(CLASSES))
    (scored.run.evaluation / "thresholds.json").write_text(json.dumps(rules))
    store = scored.stores[scored.stage]
    rising = np.linspace(0, 255, TRUTH_SIZE[1]).astype(np.uint8)
    for part, numbers in enumerate(store.parts()):
        probability = np.broadcast_to(rising, (len(numbers), len(CLASSES), *TRUTH_SIZE))
        images = [scored.samples.read(number, scored.samples.image(number).shape[:2]) for number in numbers]
        store.write(part, probability, images)


@pytest.fixture(scope="session")
def picture(run: Path) -> Path:
    """An image that the network has not seen, as the competition has them."""
    return next((run.parent / "demo" / "test_images").glob("*.jpg"))


@dataclass(frozen=True)
class App:
    """A running app: `url` as it printed it, `address` without the token, `log` all that it printed."""

    process: subprocess.Popen[bytes]
    log: Path
    address: str
    url: str

    @property
    def token(self) -> str:
        return self.url.partition("token=")[2]


@contextmanager
def started(run: Path, log: Path, *options: str) -> Iterator[App]:
    """The app, started by the command that users type, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("w") as out:
        server = processes.Popen(
            [sys.executable, "-m", "cloudseg.app", "--run", str(run), "--port", str(port), *options],
            cwd=ROOT,
            env=environment(),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    address = f"http://localhost:{port}"
    try:
        end = time.monotonic() + PATIENCE_S
        while not answers(f"{address}/_stcore/health"):
            assert server.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        printed = re.search(r"^open (\S+)$", log.read_text(), re.MULTILINE)
        assert printed, log.read_text()
        yield App(server, log, address, printed[1])
    finally:
        server.terminate()
        server.wait(PATIENCE_S)


@pytest.fixture(scope="session")
def app(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with started(run, tmp_path_factory.mktemp("log") / "app.log") as app:
        yield app


@pytest.fixture(scope="session")
def address(app: App) -> str:
    return app.address


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except urllib.error.HTTPError:
        return True  # it is there, and refuses
    except OSError:
        return False


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    install()
    expect.set_options(timeout=PATIENCE_S * 1000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


def install() -> None:
    """Debian's Chromium, where there is none yet; half a minute, and it takes root."""
    if CHROMIUM.exists():
        return
    if os.geteuid() != 0:
        pytest.skip(f"THE APP WAS NOT TESTED: there is no {CHROMIUM}, and it takes root to install it (apt-get)")
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=600"]
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            [*apt, *command],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


@pytest.fixture
def context(browser: Browser, app: App) -> Iterator[BrowserContext]:
    """A browser with nothing remembered."""
    context = browser.new_context(base_url=app.address, viewport={"width": 1400, "height": 900})
    context.set_default_timeout(PATIENCE_S * 1000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, app: App) -> Page:
    """A window of the app's first page, opened by the URL that the app printed."""
    page = context.new_page()
    page.goto(app.url)
    expect(page).to_have_url(f"{app.address}/")
    return page
