"""A URL that is almost right is answered with the right one and the reason."""

import pytest

from services.gateway.http.middleware.url_hints import MAX_CHARACTERS, hint

ROUTES = {"/v1/chat/completions", "/v1/models", "/v1/files", "/livez", "/v2"}
HINTS = {
    "/v1/v1/chat/completions": "Did you mean /v1/chat/completions? Your base URL ends with /v1 already.",
    "/v1/v1/v1/models": "Did you mean /v1/models? Your base URL ends with /v1 already.",
    "/v1/v1/models/": "Did you mean /v1/models? Your base URL ends with /v1 already.",
    "/v1//chat/completions": "Did you mean /v1/chat/completions? Your URL has a slash too many.",
    "//v1/chat//completions": "Did you mean /v1/chat/completions? Your URL has a slash too many.",
    "/v1/models/": "Did you mean /v1/models? Your URL has a slash too many.",
    "/livez/": "Did you mean /livez? Your URL has a slash too many.",
    "/chat/completions": "Did you mean /v1/chat/completions? The base URL must end with /v1.",
    "/models/": "Did you mean /v1/models? The base URL must end with /v1.",
    "/v1/chat/completions/chat/completions": (
        "Did you mean /v1/chat/completions? Your base URL must end before the endpoint's name."
    ),
    "/v1/chat/completions/v1/chat/completions": (
        "Did you mean /v1/chat/completions? Your base URL must end before the endpoint's name."
    ),
}


@pytest.mark.parametrize("path", HINTS)
def test_the_path_that_was_meant_is_named(path: str) -> None:
    assert hint(path, ROUTES.__contains__).strip() == HINTS[path]


@pytest.mark.parametrize(
    "path", ["/", "", "//", "/v1", "/v1/", "/v1/nothing", "/nothing/", "/v1/v1/nothing", "/" * MAX_CHARACTERS]
)
def test_without_a_route_nearby_nothing_is_suggested(path: str) -> None:
    assert hint(path, ROUTES.__contains__) == ""


def test_a_long_path_is_not_looked_into() -> None:
    def never(path: str) -> bool:
        raise AssertionError(path)

    assert hint("/v1" * MAX_CHARACTERS, never) == ""
