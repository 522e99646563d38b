"""A figure of ours beside a peer's, and the goal for their ratio."""

from typing import Literal

from pydantic import BaseModel, Field, computed_field


class Row(BaseModel):
    """`ours` and `theirs` in `unit`; the goal, where there is one, is for ours / theirs."""

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
        return self.ours / self.theirs

    @computed_field  # type: ignore[prop-decorator]
    @property
    def met(self) -> bool:
        if self.goal is None:
            return True
        return self.ratio <= self.goal if self.wanted == "at most" else self.ratio >= self.goal

    @property
    def told_goal(self) -> str:
        return f"{self.wanted} {self.goal:g}" if self.goal is not None else ""

    @property
    def told_verdict(self) -> str:
        if self.goal is None:
            return ""
        return "met" if self.met else "missed"


class Part(BaseModel):
    """A figure that explains rows, without a goal of its own."""

    what: str
    unit: str
    value: float


class Found(BaseModel):
    rows: list[Row] = Field(default_factory=list)
    parts: list[Part] = Field(default_factory=list)


class Report(Found):
    """`load`: of the machine when the run began, for one minute; `left_out`: what was not measured, and why."""

    load: float
    left_out: list[str] = Field(default_factory=list)

    def add(self, found: Found) -> None:
        self.rows += found.rows
        self.parts += found.parts
