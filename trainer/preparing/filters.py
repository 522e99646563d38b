"""The filters of a recipe, in the order in which they run. Each has a name, which the report shows."""

from collections.abc import Iterator
from pathlib import Path

from datatrove.pipeline.decont.n_grams import NGramsDecontFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter
from datatrove.pipeline.writers.disk_base import DiskWriter

from trainer.preparing import decontamination
from trainer.preparing.documents import writer
from trainer.preparing.filter_settings import GopherQuality, GopherRepetition
from trainer.preparing.language_filter import KeepLanguages
from trainer.preparing.recipe import PrepareRecipe
from trainer.preparing.sound import Sound
from trainer.preparing.url_filter import UrlFilter
from trainer.preparing.words import Words

EXACT, NEAR = "exact_dedup", "minhash_dedup"
STEPS = (
    *("sound", "url", "language", "gopher_repetition", "gopher_quality", "c4", "decontaminate"),
    *(EXACT, NEAR),
)
"""All that may drop a document, in their order."""


def filters(recipe: PrepareRecipe, words: Words, index: Path, dropped: Path) -> Iterator[BaseFilter]:
    """The filters that look at one document at a time.

    Args:
        recipe: Says which are on.
        words: The rules of the recipe's language.
        index: Folder of the decontamination's index.
        dropped: Folder for what is dropped, with a folder for each step.

    Raises:
        WrongData: A list cannot be read.
    """
    yield Sound(writer(dropped / "sound"))
    if recipe.url:
        yield UrlFilter(recipe.url, writer(dropped / "url"))
    if recipe.language:
        yield KeepLanguages(recipe.language, writer(dropped / "language"))
    if recipe.gopher_repetition:
        yield _repetition(recipe.gopher_repetition, words, writer(dropped / "gopher_repetition"))
    if recipe.gopher_quality:
        yield _quality(recipe.gopher_quality, words, writer(dropped / "gopher_quality"))
    if recipe.c4:
        yield C4QualityFilter(writer(dropped / "c4"), language=words, **recipe.c4.model_dump())
    if recipe.decontaminate:
        config = decontamination.config_of(recipe.decontaminate)
        yield NGramsDecontFilter(str(index), config, writer(dropped / "decontaminate"), words)


def _repetition(settings: GopherRepetition, words: Words, excluded: DiskWriter) -> BaseFilter:
    n_grams = {
        "top_n_grams": tuple(sorted(settings.top_n_grams.items())),
        "dup_n_grams": tuple(sorted(settings.dup_n_grams.items())),
    }
    return GopherRepetitionFilter(**(settings.model_dump() | n_grams), exclusion_writer=excluded, language=words)


def _quality(settings: GopherQuality, words: Words, excluded: DiskWriter) -> BaseFilter:
    return GopherQualityFilter(**settings.model_dump(), exclusion_writer=excluded, language=words)
