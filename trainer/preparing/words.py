"""Words and sentences by the rules of a language: spaCy's, which need no model."""

from typing import Any

from datatrove.utils.word_tokenizers import WordTokenizer, load_word_tokenizer

from trainer.data.wrong import WrongData


class Words(WordTokenizer):  # type: ignore[misc]
    """Stands for datatrove's tokenizer of a language. It is copied and sent to other processes by its language alone.

    The rules themselves are loaded once in each process: half a second, which else every task would spend.
    """

    def __init__(self, language: str) -> None:
        super().__init__(language)

    def __reduce__(self) -> tuple[Any, ...]:
        return Words, (self.language,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Words) and other.language == self.language

    def __hash__(self) -> int:
        return hash(self.language)  # filters of a task share the words that datatrove remembers of a text

    def word_tokenize(self, text: str) -> list[str]:
        """The words of a text; marks are words too."""
        found: list[str] = load_word_tokenizer(self.language).word_tokenize(text)
        return found

    def sent_tokenize(self, text: str) -> list[str]:
        """The sentences of a text."""
        found: list[str] = load_word_tokenizer(self.language).sent_tokenize(text)
        return found

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Where the sentences of a text begin and end, in characters."""
        found: list[tuple[int, int]] = load_word_tokenizer(self.language).span_tokenize(text)
        return found


def words_of(language: str) -> Words:
    """The rules of a language.

    Raises:
        WrongData: Nobody has rules for it, or they need a package that is not installed.
    """
    words = Words(language)
    try:
        words.word_tokenize("a")
    except ValueError as error:
        raise WrongData(f"words = {language}: {error}") from None
    except ImportError as error:
        raise WrongData(f"words = {language}: the language needs a package more: {error}") from None
    return words
