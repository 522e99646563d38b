"""The Job that makes Secrets, against a small server that answers as the Kubernetes API does."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.deploy.chart import CHART

Secrets = dict[str, dict[str, Any]]
PLAN = {"redis": {"password": "", "url": "redis://:{password}@host:6379/0"}, "auth": {"api-key": ""}}
LABELS = {"app.kubernetes.io/part-of": "tidegate"}
TOKEN = "token"


@pytest.fixture(scope="module")
def job() -> ModuleType:
    spec = spec_from_file_location("make_secrets", CHART / "files/make_secrets.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def kept() -> Secrets:
    """What the namespace has."""
    return {}


@pytest.fixture
def api(job: ModuleType, kept: Secrets) -> Iterator[Any]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200 if self._name in kept else 404, kept.get(self._name))

        def do_POST(self) -> None:
            secret = self._body()
            name = secret["metadata"]["name"]
            if name in kept:
                self._answer(409)
            else:
                kept[name] = secret
                self._answer(201, secret)

        def do_PATCH(self) -> None:
            assert self.headers["Content-Type"] == "application/merge-patch+json"
            kept[self._name]["data"] |= self._body()["data"]
            self._answer(200, kept[self._name])

        @property
        def _name(self) -> str:
            return self.path.removeprefix("/api/v1/namespaces/sea/secrets/")

        def _body(self) -> dict[str, Any]:
            assert self.headers["Authorization"] == f"Bearer {TOKEN}"
            return dict(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, status: int, body: dict[str, Any] | None = None) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body or {}).encode())

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield job.Api(f"http://127.0.0.1:{server.server_port}", "sea", TOKEN)
        server.shutdown()


def test_secrets_are_made_once_and_never_changed(job: ModuleType, api: Any, kept: Secrets) -> None:
    job.make(api, PLAN, LABELS)
    first = json.dumps(kept)
    assert set(kept) == set(PLAN)
    assert kept["auth"]["metadata"] == {"name": "auth", "labels": LABELS}
    assert len(value(kept, "auth", "api-key")) >= 40
    assert value(kept, "redis", "url") == f"redis://:{value(kept, 'redis', 'password')}@host:6379/0"
    job.make(api, PLAN, LABELS)
    assert json.dumps(kept) == first


def test_a_key_that_is_new_is_added_to_what_exists(job: ModuleType, api: Any, kept: Secrets) -> None:
    kept["redis"] = {"metadata": {"name": "redis"}, "data": {"password": base64.b64encode(b"old").decode()}}
    job.make(api, PLAN, LABELS)
    assert value(kept, "redis", "password") == "old"
    assert value(kept, "redis", "url") == "redis://:old@host:6379/0"


def test_two_jobs_at_once_leave_one_value(job: ModuleType, api: Any, kept: Secrets, monkeypatch: Any) -> None:
    """The second finds nothing, and then the first is there: it fails, and its next try keeps what is there."""
    job.make(api, PLAN, LABELS)
    first = json.dumps(kept)
    with monkeypatch.context() as late:
        late.setattr(api, "get", lambda _: None)
        with pytest.raises(HTTPError, match="409"):
            job.make(api, PLAN, LABELS)
    job.make(api, PLAN, LABELS)
    assert json.dumps(kept) == first


def test_values_are_not_printed(job: ModuleType, api: Any, kept: Secrets, capsys: pytest.CaptureFixture[str]) -> None:
    job.make(api, PLAN, LABELS)
    out = capsys.readouterr().out
    assert "redis: made" in out
    assert value(kept, "redis", "password") not in out


def value(kept: Secrets, name: str, key: str) -> str:
    return base64.b64decode(kept[name]["data"][key]).decode()
