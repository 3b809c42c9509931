from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.fetching.service import Server, Service


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    service = Service()
    with Server(service):
        yield service
