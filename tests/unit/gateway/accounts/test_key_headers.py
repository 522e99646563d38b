"""Which key a request presents, whatever the header that its client knows."""

import pytest

from services.gateway.accounts.key_headers import presented_key
from services.shared.errors import Unauthenticated

BEARER = ("authorization", "Bearer key-of-tests")


@pytest.mark.parametrize(
    "headers",
    [
        [BEARER],
        [("authorization", "bearer   key-of-tests ")],
        [("x-api-key", "key-of-tests")],
        [("api-key", " key-of-tests")],
        [BEARER, ("x-api-key", "key-of-tests"), ("api-key", "key-of-tests")],
        [BEARER, BEARER],
        [BEARER, ("x-api-key", "")],
        [("authorization", "Bearer "), ("x-api-key", "key-of-tests")],
        [("authorization", "Basic for-a-proxy"), ("api-key", "key-of-tests")],
    ],
)
def test_one_key_under_any_name(headers: list[tuple[str, str]]) -> None:
    assert presented_key(headers) == "key-of-tests"


@pytest.mark.parametrize(
    ("headers", "names"),
    [
        ([BEARER, ("x-api-key", "other-key")], "authorization and x-api-key"),
        ([("x-api-key", "other-key"), ("api-key", "key-of-tests")], "api-key and x-api-key"),
        ([BEARER, ("authorization", "Bearer other-key")], "in authorization."),
    ],
)
def test_two_keys_are_refused_by_the_names_of_their_headers(headers: list[tuple[str, str]], names: str) -> None:
    with pytest.raises(Unauthenticated, match=names) as refused:
        presented_key(headers)
    assert refused.value.body()["error"]["code"] == "conflicting_api_keys"
    assert "other-key" not in refused.value.message
    assert "key-of-tests" not in refused.value.message


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([], "didn't provide"),
        ([("authorization", "")], "didn't provide"),
        ([("authorization", "Bearer")], "didn't provide"),
        ([("x-api-key", " ")], "didn't provide"),
        ([("authorization", "Basic abc")], "scheme must be 'Bearer'"),
        ([("authorization", "key-of-tests")], "scheme must be 'Bearer'"),
    ],
)
def test_no_key(headers: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(Unauthenticated, match=message):
        presented_key(headers)
