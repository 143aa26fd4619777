from __future__ import annotations

from collections.abc import Iterator

import pytest
from file_origin import Origin, serving

from rewardfl_app.downloads import web


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    """A server of files on this machine, asked without a proxy and without pauses."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(web, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
