"""What a recipe of pretraining makes of tokens."""

from trainer.data.corpus import Corpus
from trainer.data.shards import Shards
from trainer.pretrain_recipe import PretrainRecipe


def corpus_of(recipe: PretrainRecipe, shards: Shards) -> Corpus:
    """The sequences that a run learns and measures with.

    Args:
        recipe: The run's.
        shards: Its tokens.

    Raises:
        WrongData: As Corpus.
    """
    return Corpus(
        shards,
        length=recipe.max_length,
        held_out=recipe.held_out,
        most_held_out=recipe.max_held_out,
        weights=recipe.weights or {},
        seed=recipe.seed,
    )
