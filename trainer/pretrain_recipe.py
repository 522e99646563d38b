"""Recipes of pretraining: a new model, or one of the registry, learns texts."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainer.learning_recipe import LearningRecipe
from trainer.recipe import ModelReference, Strict

Size = Literal["1m", "15m", "135m", "360m", "1b", "3b", "8b"]
Weight = Annotated[float, Field(gt=0, le=1e9)]

_SHAPES: dict[Size, tuple[int, int, int, int, int, float, bool]] = {
    "1m": (128, 4, 4, 2, 384, 10_000.0, True),
    "15m": (256, 8, 4, 2, 704, 10_000.0, True),
    "135m": (576, 30, 9, 3, 1536, 100_000.0, True),
    "360m": (960, 32, 15, 5, 2560, 100_000.0, True),
    "1b": (2048, 16, 32, 8, 8192, 500_000.0, True),
    "3b": (3072, 28, 24, 8, 8192, 500_000.0, True),
    "8b": (4096, 32, 32, 8, 14_336, 500_000.0, False),
}
"""Of SmolLM2 (135m, 360m) and of Llama 3 (1b, 3b, 8b), in the order of _KEYS; the small ones are ours."""
_KEYS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "rope_theta",
    "tie_word_embeddings",
)
_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


class NewModel(Strict):
    """The shape of a new model, in the words of transformers."""

    size: Size | None = Field(
        None, description="A shape by its name: 1m, 15m, 135m, 360m, 1b, 3b or 8b. The keys below change parts of it."
    )
    hidden_size: int | None = Field(None, ge=8, le=65_536, description="Width of the model.")
    num_hidden_layers: int | None = Field(None, ge=1, le=1024, description="Layers.")
    num_attention_heads: int | None = Field(None, ge=1, le=1024, description="Heads of attention.")
    num_key_value_heads: int | None = Field(
        None, ge=1, le=1024, description="Heads of keys and values, which heads of attention share. Default: as many."
    )
    intermediate_size: int | None = Field(None, ge=8, le=1_048_576, description="Width within the feed-forward layers.")
    max_position_embeddings: int | None = Field(
        None, ge=8, le=1_048_576, description="Context that the model says it has. Default: max_length."
    )
    rope_theta: float | None = Field(None, gt=1, le=1e9, description="Base of the rotary embeddings. Default: 10000.")
    tie_word_embeddings: bool | None = Field(
        None, description="Whether the output layer has the weights of the embedding. Default: false."
    )
    qk_norm: bool = Field(
        False, description="Normalize queries and keys (Qwen3's architecture in place of Llama's): steadier learning."
    )
    initializer_range: float = Field(0.02, gt=0, le=1, description="Standard deviation of the first weights.")

    @model_validator(mode="after")
    def _is_a_shape(self) -> Self:
        whole = self.completed()
        if missing := [key for key in _NEEDED if getattr(whole, key) is None]:
            raise ValueError(f"{missing[0]} is not set: name a size, or set {', '.join(_NEEDED)}")
        hidden, heads, shared = whole.hidden_size or 0, whole.num_attention_heads or 1, whole.num_key_value_heads
        if hidden % (2 * heads):
            raise ValueError(
                f"hidden_size = {hidden}: it is no multiple of twice num_attention_heads = {heads}, and each head has"
                " an even part of it"
            )
        if shared and heads % shared:
            raise ValueError(f"num_attention_heads = {heads}: it is no multiple of num_key_value_heads = {shared}")
        return self

    def completed(self) -> "NewModel":
        """The same with what its size says; validated already."""
        named = dict(zip(_KEYS, _SHAPES[self.size], strict=True)) if self.size else {}
        return self.model_copy(update={key: value for key, value in named.items() if getattr(self, key) is None})


class PretrainRecipe(LearningRecipe):
    """Pretraining: a new model learns texts, or one of the registry does. One of `model` and `base` says which."""

    base: ModelReference | None = Field(
        None, description="Registry reference of the model that learns on: model, model@alias or model@version."
    )
    method: Literal["pretrain"] = Field(description="How the model learns.")
    model: NewModel | None = Field(None, description="Shape of a new model, with random weights.")
    tokenizer: str | None = Field(
        None,
        description="Tokenizer of a new model: a folder, or a model in the registry. Default: that of the shards.",
    )
    chat_template: str | None = Field(
        None,
        min_length=1,
        max_length=100_000,
        description="Chat template of a new model, as Jinja text. Default: that of its tokenizer, if it has one.",
    )
    weights: dict[str, Weight] | None = Field(
        None,
        min_length=1,
        description="Weight of each source beside the others. A source is one of the shards, or an entry of the folder"
        " of data. Default: as the shards say; other data is one source.",
    )
    document_mask: bool = Field(
        False, description="Documents in one sequence do not see each other. Default: they do, as in most pretraining."
    )
    max_held_out: int = Field(
        1000, ge=1, le=1_000_000, description="Most sequences that are held out, whatever share held_out is."
    )

    @model_validator(mode="after")
    def _begins_somewhere(self) -> Self:
        if (self.base is None) == (self.model is None):
            raise ValueError("one of model and base says where the run begins: a new model, or one of the registry")
        if self.base is not None and (self.tokenizer or self.chat_template):
            key = "tokenizer" if self.tokenizer else "chat_template"
            raise ValueError(f"{key} is for a new model, and {self.base} has its own: leave it out")
        if self.model and self.adapter:
            raise ValueError("adapter is set, and a new model has nothing that an adapter could change: leave it out")
        context = self.model.max_position_embeddings if self.model else None
        if context is not None and context < self.max_length:
            raise ValueError(
                f"model.max_position_embeddings = {context}: max_length = {self.max_length} is more than that"
            )
        return self
