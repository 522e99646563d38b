"""A commented prepare recipe to start from."""

from trainer.preparing.recipe import PrepareRecipe
from trainer.starter import commented

_FIRST = {
    "sources": {
        "web": {"path": "raw/web", "weight": 2.0, "text_field": "text", "url_field": "url"},
        "books": {"path": "raw/books"},
    },
    "output": "corpus",
    "train_tokenizer": {},
    "gopher_repetition": {},
    "gopher_quality": {},
    "minhash_dedup": {},
    "pii": {},
}


def starter() -> str:
    """The content of a recipe file: what most texts need is on."""
    return commented(PrepareRecipe, _FIRST)
