"""The part of a recipe that says how its result is evaluated, and what it must reach."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from services.shared.strict_model import Strict
from trainer.data.address import Data

OWN_TASKS = ("tidegate_text", "tidegate_opposites", "tidegate_numbers", "tidegate_capitals")
"""Tasks that are part of Tidegate (trainer/evaluation/suites). Their data is in the repository."""
HELD_OUT_TEXT = "held_out_text"
"""The task that `text` makes."""
MAX_TASKS = 64


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


Pattern = Annotated[str, AfterValidator(_pattern), Field(min_length=1, max_length=4096)]
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


class ServedCheck(Strict):
    """A question to the served candidate, and what the answer must be like."""

    name: str | None = Field(None, min_length=1, max_length=64, description="What it is called. Default: its number.")
    prompt: str = Field(min_length=1, max_length=65_536, description="What is asked, as one user's turn.")
    pattern: Pattern | None = Field(None, description="Regular expression that is found in the answer.")
    json_schema: dict[str, Any] | None = Field(None, description="JSON schema that the answer fits.")
    max_tokens: int = Field(64, ge=1, le=65_536, description="Most tokens of the answer.")

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if self.pattern is None and self.json_schema is None:
            raise ValueError("a check needs pattern or json_schema")
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

    served: tuple[ServedCheck, ...] = Field(
        (),
        max_length=256,
        description="Questions to the candidate while it is a canary, through the gateway; needs publish.rollout.",
    )
    served_min: float = Field(1.0, ge=0, le=1, description="Share of `served` that must pass, else the rollout ends.")

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        if not self.tasks and self.text is None:
            raise ValueError("tasks is empty and there is no text: nothing would be measured")
        if twice := sorted({name for name in self.tasks if self.tasks.count(name) > 1}):
            raise ValueError(f"tasks: {twice[0]} is there twice")
        if HELD_OUT_TEXT in self.tasks:
            raise ValueError(f"tasks: {HELD_OUT_TEXT} is the name of the task that text makes")
        return self
