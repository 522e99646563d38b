"""Why a JSON schema cannot bind an answer."""

MAX_SHOWN = 160


class SchemaProblem(ValueError):
    """A part of a schema that no grammar can hold an answer to.

    Args:
        keyword: the keyword at fault.
        path: JSON pointer of the schema that has it.
        reason: goes on after the keyword and its place.
    """

    def __init__(self, keyword: str, path: str, reason: str) -> None:
        place = f"{path}/{keyword}"
        shown = place if len(place) <= MAX_SHOWN else f"{place[:MAX_SHOWN]}..."
        super().__init__(f"the keyword '{keyword}' at '{shown}' {reason}")
        self.keyword, self.path = keyword, path
