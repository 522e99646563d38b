"""A prepare recipe: which texts become shards of token ids, and what is done to them."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from trainer.preparing.filter_settings import (
    C4,
    Decontamination,
    GopherQuality,
    GopherRepetition,
    Language,
    MinHash,
    Pii,
    Url,
)
from trainer.recipe import Data, Strict

SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
MAX_SOURCES = 256
MAX_TASKS = 10_000
"""Tasks of all sources together."""
BYTES = 256
"""Every byte is a token of a trained tokenizer, so that any text has tokens."""
DEFAULT_EOS = "<|endoftext|>"


class Source(Strict):
    """Where texts come from."""

    path: Data = Field(description="File or folder, or s3://bucket/prefix; a relative path starts at the recipe.")
    weight: float = Field(
        1.0, gt=0, le=1e6, description="Its share of what is learnt, beside the weights of the other sources."
    )
    text_field: str = Field("text", min_length=1, description="Field of a record that holds the text.")
    url_field: str = Field("url", min_length=1, description="Field that holds the text's URL, for the filter url.")


class TrainTokenizer(Strict):
    """A byte-level BPE tokenizer that is trained on the texts that are left."""

    vocab_size: int = Field(32_000, gt=BYTES, le=1_000_000, description="Tokens, with the bytes and special tokens.")
    special_tokens: tuple[str, ...] = Field(
        (DEFAULT_EOS,), max_length=1024, description="Tokens that no text contains; the first get the lowest ids."
    )
    min_frequency: int = Field(2, ge=1, description="How often a pair must occur to become a token.")
    sample_bytes: int = Field(
        1_000_000_000, ge=1, description="Bytes of text that it is trained on, chosen by `seed`; bounds the memory."
    )
    chat_template: Path | None = Field(
        None, description="File with a chat template (Jinja) that is put beside the tokenizer. Default: none."
    )

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if len(set(self.special_tokens)) != len(self.special_tokens) or "" in self.special_tokens:
            raise ValueError("special_tokens: each is there once, and none is empty")
        if self.vocab_size < BYTES + len(self.special_tokens):
            raise ValueError(
                f"vocab_size = {self.vocab_size}: {BYTES} bytes and {len(self.special_tokens)} special tokens need more"
            )
        return self


class PrepareRecipe(Strict):
    """From raw text to shards of token ids: filters, deduplication, tokenizer."""

    sources: dict[SourceName, Source] = Field(
        min_length=1,
        max_length=MAX_SOURCES,
        description="What is read, by name. Of texts that are there twice, that of the earlier source is kept.",
    )
    output: Data = Field(description="Folder of the shards, or s3://bucket/prefix.")
    work: Path | None = Field(
        None, description="Folder for what lies in between. Default: the output's name with .work behind it."
    )
    tokenizer: str | None = Field(
        None, description="A tokenizer that exists: a folder, or model, model@alias or model@version in the registry."
    )
    train_tokenizer: TrainTokenizer | None = Field(None, description="A tokenizer that is made; one of both is needed.")
    eos_token: str | None = Field(
        None,
        min_length=1,
        description=f"Token behind every document. Default: the tokenizer's own; of a trained one {DEFAULT_EOS}.",
    )
    bos_token: str | None = Field(
        None, min_length=1, description="Token in front of every document. Default: none is put there."
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of everything that is random.")
    words: str = Field(
        "en", min_length=2, description="Language by whose rules words and sentences are counted: en, de, fr, ..."
    )
    url: Url | None = Field(None, description="Drops documents by their URL.")
    language: Language | None = Field(None, description="Drops documents that are in another language.")
    gopher_repetition: GopherRepetition | None = Field(None, description="Drops documents that repeat themselves.")
    gopher_quality: GopherQuality | None = Field(None, description="Drops documents whose words are not those of text.")
    c4: C4 | None = Field(None, description="Takes lines out that are no sentences; drops documents with few others.")
    decontaminate: Decontamination | None = Field(
        None, description="Drops documents that hold a part of an evaluation set."
    )
    exact_dedup: bool = Field(True, description="Drop documents whose text is there already.")
    minhash_dedup: MinHash | None = Field(None, description="Drops documents that are nearly the same as another.")
    pii: Pii | None = Field(None, description="Replaces addresses of persons.")
    tasks: int = Field(
        1, ge=1, le=MAX_TASKS, description="Parts of a source that are worked on by themselves; a file is never cut."
    )
    workers: int = Field(1, ge=1, le=1024, description="Tasks at the same time. It changes no byte of the result.")
    executor: Literal["local", "slurm", "ray"] = Field(
        "local", description="What runs the tasks: datatrove's executors."
    )
    executor_options: dict[str, Any] = Field(
        {}, description="Options of the executor by datatrove's names, for slurm such as time and partition."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.tokenizer is None) == (self.train_tokenizer is None):
            raise ValueError("one of tokenizer and train_tokenizer says what makes the tokens")
        if isinstance(self.output, str) and self.work is None:
            raise ValueError("work: an output in a bucket needs a folder for what lies in between")
        if self.executor == "local" and self.executor_options:
            raise ValueError("executor_options are for executor: slurm or ray")
        return self

    @model_validator(mode="after")
    def _names_its_special_tokens(self) -> Self:
        if self.train_tokenizer:
            known = self.train_tokenizer.special_tokens
            for key, token in (("eos_token", self.eos_token or DEFAULT_EOS), ("bos_token", self.bos_token)):
                if token is not None and token not in known:
                    raise ValueError(f"{key} = {token} is none of train_tokenizer.special_tokens: {', '.join(known)}")
        return self

    @model_validator(mode="after")
    def _knows_the_stop_words(self) -> Self:
        quality = self.gopher_quality
        if quality and quality.min_stop_words and quality.stop_words is None and self.words != "en":
            raise ValueError(
                f"gopher_quality.stop_words: only those of en are known; name those of words = {self.words},"
                " or set gopher_quality.min_stop_words: 0"
            )
        return self
