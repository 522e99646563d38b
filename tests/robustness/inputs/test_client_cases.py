"""Generated requests of clients: the same for the same seed, and of every kind."""

from random import Random

from tests.robustness.inputs.batch_cases import LINES, batch_file
from tests.robustness.inputs.client_bodies import bodies, changed
from tests.robustness.inputs.client_cases import client_cases


def test_a_seed_gives_the_same_cases() -> None:
    assert client_cases("tide", 200, 7) == client_cases("tide", 200, 7)
    assert client_cases("tide", 200, 7) != client_cases("tide", 200, 8)


def test_there_are_cases_of_every_kind() -> None:
    cases = client_cases("tide", 2000, 7)
    assert {case.target for case in cases} >= {*bodies("tide"), "/v1/files", "/v1/v1/messages", "/v1/responses/"}
    assert {case.method for case in cases} >= {"POST", "GET", "HEAD", "DELETE", "OPTIONS"}
    assert {case.version for case in cases} == {"1.0", "1.1"}
    headers = {header for case in cases for header in case.headers}
    assert {("content-encoding", name) for name in ("gzip", "zstd", "deflate", "br")} <= headers
    bodies_sent = b"".join(case.body for case in cases)
    for part in (b"$ref", b"(?=", b'"required": null', b"\xef\xbb\xbf", b"cache_control", b"count_tokens", b"\\ud800"):
        assert part in bodies_sent or any(part.decode("latin-1") in case.target for case in cases)


def test_changes_leave_the_body_and_its_model_as_they_were() -> None:
    random = Random(7)
    for body in (each for some in bodies("tide").values() for each in some):
        before = repr(body)
        for _ in range(50):
            assert changed(body, random).get("model") == body.get("model")
        assert repr(body) == before


def test_a_batch_file_has_its_lines() -> None:
    for seed in range(20):
        _, content = batch_file("tide", Random(seed))
        assert len(content.split(b"\n")) == LINES
