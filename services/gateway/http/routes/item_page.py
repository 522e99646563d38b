"""A page of items, as the lists of responses and conversations show it."""

from collections.abc import Sequence
from typing import Any

MAX_PAGE = 100


def page_of(items: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """Returns the page. more: whether items follow that it does not have."""
    first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return {"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": more}
