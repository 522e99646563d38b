"""The keys of the filters in a prepare recipe, with datatrove's names and defaults."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from trainer.recipe import Strict

Share = Annotated[float, Field(gt=0, le=1)]


class Url(Strict):
    """What the URL of a document must not be. Documents without one pass."""

    domains: Path | None = Field(None, description="File of domains that are blocked, one a line.")
    urls: Path | None = Field(None, description="File of whole URLs that are blocked.")
    banned_words: Path | None = Field(None, description="File of words of which none may be in a URL.")
    soft_banned_words: Path | None = Field(
        None, description="File of words of which fewer than soft_word_threshold may be in a URL."
    )
    soft_word_threshold: int = Field(2, ge=1, description="See soft_banned_words.")
    use_integrated_lists: bool = Field(
        False, description="Block what datatrove's own lists hold too (adult sites); 0.8 GB of memory for each worker."
    )

    @model_validator(mode="after")
    def _blocks_something(self) -> Self:
        if not (self.use_integrated_lists or any((self.domains, self.urls, self.banned_words, self.soft_banned_words))):
            raise ValueError("nothing would be blocked: name a list, or set use_integrated_lists: true")
        return self


class Language(Strict):
    """Which languages are kept, as fastText's model finds them."""

    keep: tuple[str, ...] = Field(("en",), min_length=1, description="Languages that are kept, by their ISO codes.")
    threshold: float = Field(0.65, ge=0, lt=1, description="Score that one of them must be above.")
    model: Path | None = Field(
        None, description="A model of fastText, such as lid.176.bin. Default: lid.176.ftz, smaller and less exact."
    )


class GopherRepetition(Strict):
    """Shares of a document that may be repetitions (Gopher, table A1)."""

    dup_line_frac: Share = Field(0.3, description="Of lines.")
    dup_para_frac: Share = Field(0.3, description="Of paragraphs.")
    dup_line_char_frac: Share = Field(0.2, description="Of characters, in repeated lines.")
    dup_para_char_frac: Share = Field(0.2, description="Of characters, in repeated paragraphs.")
    top_n_grams: dict[Annotated[int, Field(ge=1, le=20)], Share] = Field(
        {2: 0.2, 3: 0.18, 4: 0.16}, description="Of characters, in the most frequent group of so many words."
    )
    dup_n_grams: dict[Annotated[int, Field(ge=1, le=20)], Share] = Field(
        {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1},
        description="Of characters, in repeated groups of so many words.",
    )


class GopherQuality(Strict):
    """What text is like (Gopher, section A1.1)."""

    min_doc_words: int = Field(50, ge=1, description="Fewest words.")
    max_doc_words: int = Field(100_000, ge=1, description="Most words.")
    min_avg_word_length: float = Field(3, ge=0, description="Least mean length of a word, in characters.")
    max_avg_word_length: float = Field(10, gt=0, description="Most.")
    max_symbol_word_ratio: Share = Field(0.1, description="Most # or ... for a word.")
    max_bullet_lines_ratio: Share = Field(0.9, description="Largest share of lines that begin with a bullet.")
    max_ellipsis_lines_ratio: Share = Field(0.3, description="Largest share of lines that end in ...")
    max_non_alpha_words_ratio: Share = Field(
        0.8, description="Least share of words with a letter (datatrove's name says the contrary)."
    )
    min_stop_words: int = Field(2, ge=0, description="How many of the stop words must be there.")
    stop_words: tuple[str, ...] | None = Field(None, description="Default: the, be, to, of, and, that, have, with.")


class C4(Strict):
    """What C4 keeps: lines that are sentences, in documents that are prose."""

    min_num_sentences: int = Field(5, ge=1, description="Fewest sentences that are left of a document.")
    min_words_per_line: int = Field(3, ge=1, description="Lines with fewer words are taken out.")
    max_word_length: int = Field(1000, ge=1, description="Lines with longer words are taken out.")
    filter_no_terminal_punct: bool = Field(True, description="Take out lines that end in no mark of a sentence's end.")
    filter_javascript: bool = Field(True, description="Take out lines that name JavaScript.")
    filter_policy: bool = Field(True, description="Take out lines about cookies and terms of use.")
    filter_lorem_ipsum: bool = Field(True, description="Drop documents with lorem ipsum.")
    filter_curly_bracket: bool = Field(True, description="Drop documents with {: code.")
    remove_citations: bool = Field(True, description="Take out marks of citations, such as [1].")


class Decontamination(Strict):
    """What is tested with must not be learnt."""

    data: tuple[Path, ...] = Field(
        min_length=1,
        examples=[("evaluation.jsonl",)],
        description="Files or folders of evaluation sets, in any form; all their texts count.",
    )
    n_grams: int = Field(12, ge=2, le=100, description="Words in a row that must not be the same.")


class MinHash(Strict):
    """Which documents are nearly the same. The defaults find pairs whose groups of words are the same to about 72 %."""

    n_grams: int = Field(5, ge=1, le=100, description="Words of a group.")
    num_buckets: int = Field(14, ge=1, le=1000, description="More find more pairs.")
    hashes_per_bucket: int = Field(8, ge=1, le=1000, description="More find only pairs that are more alike.")


class Pii(Strict):
    """What is replaced. Phone numbers and names are not found."""

    remove_emails: bool = Field(True, description="Replace mail addresses.")
    remove_ips: bool = Field(True, description="Replace IPv4 addresses.")
    only_remove_public_ips: bool = Field(True, description="Keep private ones, such as 10.0.0.1.")
    email_replacement: str = Field("email@example.com", description="What stands there instead.")
    ip_replacement: str = Field("192.0.2.1", description="What stands there instead: an address for documentation.")
