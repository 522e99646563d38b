from pathlib import Path

import pytest

from loadtests.target import Target, access
from services.shared.settings import WrongSettings


def test_the_local_clusters_address_and_key_are_taken_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "local.env"
    file.write_text("OPENAI_BASE_URL=http://127.0.0.1:8080/v1\nOPENAI_API_KEY=tg-a=b\n")
    found = access(None, None, file)
    assert (found.base_url, found.api_key) == ("http://127.0.0.1:8080/v1", "tg-a=b")
    assert access("https://[::1]/v1/", "k", file) == Target("::1", 443, "/v1", True, "k")


@pytest.mark.parametrize(
    ("base_url", "api_key", "named"),
    [(None, None, "no cluster was started"), ("http://h/v1", None, "--api-key"), ("h:80", "k", "--base-url = 'h:80'")],
)
def test_what_is_missing_or_wrong_is_named(
    tmp_path: Path, base_url: str | None, api_key: str | None, named: str
) -> None:
    with pytest.raises(WrongSettings, match=named):
        access(base_url, api_key, tmp_path / "local.env")


def test_a_request_is_whole() -> None:
    request = Target.of("http://host:81/v1", "key").post("/chat/completions", {"a": 1})
    assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: host:81\r\nAuthorization: Bearer key\r\n")
    assert request.endswith(b'Content-Length: 7\r\n\r\n{"a":1}')
