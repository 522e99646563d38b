"""The part of a recipe that says how its result is evaluated, and what it must reach."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from services.shared.strict_model import Strict
from trainer.data.address import Data

OWN_TASKS = ("tidegate_text", "tidegate_opposites", "tidegate_numbers", "tidegate_capitals")
"""Tasks that are part of Tidegate (trainer/evaluation/suites). Their data is in the repository."""
HELD_OUT_TEXT = "held_out_text"
"""The task that `text` makes."""
MAX_TASKS = 64

TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-]{1,128}$")]


class Threshold(Strict):
    """A bound on one figure of a result."""

    metric: str = Field(
        min_length=1, max_length=256, description="Task and metric, as lm-evaluation-harness names them: arc_easy/acc."
    )
    min: float | None = Field(None, description="Least value.")
    max: float | None = Field(None, description="Largest value.")
    worse_than_parent: float | None = Field(
        None, description="Most by which it may be worse than the base's value; below 0: least by which it is better."
    )
    worse_than_live: float | None = Field(
        None, description="The same beside the version that `latest` of the published model names."
    )
    otherwise: Literal["refuse", "canary"] = Field(
        "refuse",
        description="What becomes of a result beyond the bound. refuse: it is not published. canary: it is published,"
        " and rolled out in steps only.",
    )

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.min is self.max is self.worse_than_parent is self.worse_than_live is None:
            raise ValueError("a threshold needs min, max, worse_than_parent or worse_than_live")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min:g} is above max = {self.max:g}: no value fits")
        return self


class Evaluation(Strict):
    """How a result is evaluated: by lm-evaluation-harness, in the precision of its weights."""

    tasks: tuple[TaskName, ...] = Field(
        OWN_TASKS,
        max_length=MAX_TASKS,
        description="Names of tasks: Tidegate's own, or any of lm-evaluation-harness whose data can be fetched.",
    )
    text: Data | None = Field(
        None, description="File, folder or s3://bucket/prefix of texts whose perplexity is measured: held_out_text."
    )
    limit: int | None = Field(None, ge=1, le=1_000_000, description="Documents of each task. Default: all.")
    num_fewshot: int | None = Field(
        None, ge=0, le=64, description="Examples before each question. Default: as the task says, else none."
    )
    batch: int = Field(8, ge=1, le=4096, description="Questions that are computed together.")
    apply_chat_template: bool = Field(False, description="Ask by the chat template of the model.")
    thresholds: tuple[Threshold, ...] = Field((), max_length=256, description="What the result must reach.")

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        if not self.tasks and self.text is None:
            raise ValueError("tasks is empty and there is no text: nothing would be measured")
        if twice := sorted({name for name in self.tasks if self.tasks.count(name) > 1}):
            raise ValueError(f"tasks: {twice[0]} is there twice")
        if HELD_OUT_TEXT in self.tasks:
            raise ValueError(f"tasks: {HELD_OUT_TEXT} is the name of the task that text makes")
        return self
