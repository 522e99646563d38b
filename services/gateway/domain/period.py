"""Days and months in UTC, the periods of budgets and of usage."""

from datetime import UTC, date, datetime, timedelta
from typing import Literal

Period = Literal["day", "month"]


def day_of(wall: float) -> date:
    """The day of a time in seconds since 1970."""
    return datetime.fromtimestamp(wall, UTC).date()


def first_day(period: Period, wall: float) -> date:
    """The first day of the period that a time in seconds since 1970 is in."""
    today = day_of(wall)
    return today if period == "day" else today.replace(day=1)


def seconds_left(period: Period, wall: float) -> float:
    """Seconds until the next period begins, from a time in seconds since 1970."""
    first = first_day(period, wall)
    after = first + timedelta(days=1) if period == "day" else (first + timedelta(days=31)).replace(day=1)
    return datetime(after.year, after.month, after.day, tzinfo=UTC).timestamp() - wall
