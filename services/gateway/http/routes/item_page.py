"""Pages of items, as the lists of responses and conversations show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Query

from services.shared.errors import NotFound

MAX_PAGE = 100


@dataclass(frozen=True, slots=True)
class AskedPage:
    """Which items a client asks for, in the query.

    Attributes:
        after: id of the item before the first one; None: from the beginning.
        limit: most items.
        order: `desc` begins with the last item.
    """

    after: str | None = None
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20
    order: Literal["asc", "desc"] = "desc"

    @property
    def newest_first(self) -> bool:
        """Whether the last item comes first."""
        return self.order == "desc"

    def chosen(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Returns the page of a list that is at hand. items: all of them, the oldest first. Raises NotFound."""
        found = list(items[::-1] if self.newest_first else items)
        if self.after is not None:
            ids = [item["id"] for item in found]
            if self.after not in ids:
                raise NotFound(f"There is no item with the id '{self.after[:64]}'.", param="after")
            found = found[ids.index(self.after) + 1 :]
        return page_of(found[: self.limit], more=len(found) > self.limit)


Page = Annotated[AskedPage, Depends()]


def page_of(items: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """Returns the page. more: whether items follow that it does not have."""
    first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return {"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": more}
