"""Readiness probes."""

from random import Random

import pytest

from services.local.ports import Ports
from services.local.process_spec import HttpProbe
from services.local.readiness import not_ready_reason


async def test_asking_over_http_reads_no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost 25 ms, and a worker that needs minutes to start is probed hundreds of times."""

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("certificates were read")

    monkeypatch.setattr("ssl.create_default_context", refuse)
    with Ports(Random(1)) as ports:
        assert "ConnectError" in str(await not_ready_reason(HttpProbe(f"http://127.0.0.1:{ports.free()}/readyz")))
