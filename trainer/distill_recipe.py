"""The recipe of distillation: a model learns what a served teacher answers."""

from typing import Literal, Self

from pydantic import Field, model_validator

from trainer.learning_recipe import LearningRecipe
from trainer.recipe import Strict


class Teacher(Strict):
    """Who is asked, and how. Where it is served is a setting of the process: TIDEGATE_TEACHER_URL."""

    model: str = Field(min_length=1, max_length=256, description="Name of the teacher at its endpoint.")
    max_tokens: int = Field(512, ge=1, le=1_048_576, description="Most tokens of an answer; longer ones are left out.")
    temperature: float = Field(0.0, ge=0, le=2, description="Temperature of the answers; 0: greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Share of the probability that answers are drawn from.")
    service_tier: str | None = Field(
        None, max_length=64, description="service_tier of the requests. Default: the endpoint's."
    )


class Student(Strict):
    """Shape of a draft model: a Llama with these sizes and the base's vocabulary, which begins with random weights.

    The defaults have 2 million weights beside the embedding, which has hidden_size for each token.
    """

    hidden_size: int = Field(256, ge=32, le=16_384, description="Width of the model.")
    intermediate_size: int = Field(1024, ge=32, le=131_072, description="Width of its feed-forward layers.")
    num_hidden_layers: int = Field(2, ge=1, le=128, description="Number of layers.")
    num_attention_heads: int = Field(4, ge=1, le=256, description="Number of attention heads.")
    num_key_value_heads: int | None = Field(
        None, ge=1, le=256, description="Number of key-value heads. Default: as many as attention heads."
    )
    tokens: int = Field(
        3,
        ge=1,
        le=16,
        description="Draft tokens in each engine step, unless a pool says otherwise.",
    )

    @model_validator(mode="after")
    def _heads_divide_it(self) -> Self:
        heads, shared = self.num_attention_heads, self.num_key_value_heads or self.num_attention_heads
        if self.hidden_size % (2 * heads):
            raise ValueError(f"hidden_size = {self.hidden_size} is no even multiple of num_attention_heads = {heads}")
        if heads % shared:
            raise ValueError(f"num_attention_heads = {heads} is no multiple of num_key_value_heads = {shared}")
        return self


class DistillRecipe(LearningRecipe):
    """Distillation: a served teacher answers the questions of the data, and the model learns the answers.

    With `student`, a small draft model for the base is made, which is trained from random weights.
    """

    method: Literal["distill"] = Field(description="How the model learns.")
    teacher: Teacher = Field(description="Who answers.")
    student: Student | None = Field(
        None,
        description="Make a draft model of this shape for the base, in place of training the base. Default: the base"
        " learns.",
    )

    @model_validator(mode="after")
    def _a_draft_is_a_model_of_its_own(self) -> Self:
        if self.student is None:
            return self
        if self.adapter:
            raise ValueError("adapter is set, and a student begins with random weights, all of which learn")
        if self.publish and self.publish.rollout:
            raise ValueError(
                "publish.rollout is true, and a draft model helps its base and serves no pool of its own: leave it out,"
                " and name the draft in the pool's speculation"
            )
        if self.publish and self.publish.name == self.reference.model:
            raise ValueError(
                f"publish.name = {self.publish.name!r} is the base's: a draft model needs a name of its own"
            )
        return self
