"""Figures of an evaluation."""

from pydantic import BaseModel, ConfigDict, FiniteFloat, TypeAdapter


class Figure(BaseModel):
    """What a model reached in one task.

    Attributes:
        value: In the unit of its metric.
        higher_is_better: Which values are better.
        documents: How many questions or texts it was measured with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: FiniteFloat
    higher_is_better: bool
    documents: int

    def worse_by(self, other: "Figure") -> float:
        """By how much this one is worse than another one; below 0: it is better."""
        return other.value - self.value if self.higher_is_better else self.value - other.value


Figures = dict[str, Figure]
"""By task and metric, as task/metric."""

FIGURES: TypeAdapter[dict[str, Figure]] = TypeAdapter(dict[str, Figure])
