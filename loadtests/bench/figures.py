"""Measured figures: ours beside a peer's, and the goal for their ratio."""

from typing import Literal

from pydantic import BaseModel, Field, computed_field


class Row(BaseModel):
    """One comparison. `ours` and `theirs` are in `unit`; the goal, if there is one, is for ours / theirs."""

    what: str
    unit: str
    peer: str
    ours: float
    theirs: float
    goal: float | None = None
    wanted: Literal["at most", "at least"] = "at least"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ratio(self) -> float:
        """The quotient ours / theirs."""
        return self.ours / self.theirs

    @computed_field  # type: ignore[prop-decorator]
    @property
    def met(self) -> bool:
        """Whether the goal is met. True without a goal."""
        if self.goal is None:
            return True
        return self.ratio <= self.goal if self.wanted == "at most" else self.ratio >= self.goal

    @property
    def goal_text(self) -> str:
        """The goal in words; empty without a goal."""
        return f"{self.wanted} {self.goal:g}" if self.goal is not None else ""

    @property
    def verdict_text(self) -> str:
        """`met` or `missed`; empty without a goal."""
        if self.goal is None:
            return ""
        return "met" if self.met else "missed"


class Part(BaseModel):
    """A figure without a goal that explains rows."""

    what: str
    unit: str
    value: float


class Findings(BaseModel):
    """The figures of one measurement."""

    rows: list[Row] = Field(default_factory=list)
    parts: list[Part] = Field(default_factory=list)


class Report(Findings):
    """The figures of a whole run.

    `load` is the machine's load average over one minute when the run began; `left_out` names what was not measured, and
    why.
    """

    load: float
    left_out: list[str] = Field(default_factory=list)

    def add(self, found: Findings) -> None:
        """Adds the figures of one measurement."""
        self.rows += found.rows
        self.parts += found.parts
