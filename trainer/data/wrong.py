"""What is wrong with data: one record, or the whole."""

MAX_ERRORS = 10


class WrongData(Exception):
    """Data that cannot be learnt from. The message names the first MAX_ERRORS wrong places and what to do there."""


class WrongRecord(ValueError):
    """One record that cannot be read. The message is a sentence without the place."""


class Dropped(Exception):
    """One record that is left out. The message is the reason, the same words for all records of a kind."""


class Complaints:
    """Collects wrong places.

    Raises:
        WrongData: By `add`, with the MAX_ERRORS-th; by `end`, when there was any.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, place: str, sentence: object) -> None:
        """Notes what is wrong at a place."""
        self._lines.append(f"{place}: {sentence}")
        if len(self._lines) >= MAX_ERRORS:
            self.end()

    def end(self) -> None:
        """Called after the last record."""
        if self._lines:
            raise WrongData("\n".join(self._lines))
