"""The models of the benchmark: SmolLM2, and a model with one random layer and the same tokenizer. Both are kept.

One layer costs the engine almost nothing, so what remains is the cost of handling tokens.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from trainer.sources.packaged import PackagedSmolLM2

FOLDER = Path(__file__).parents[2] / "build/bench"
SEED = 0


def smollm2() -> Path:
    """Folder of SmolLM2; made at the first call.

    Raises:
        WrongSource: The package that contains the model is not installed.
    """
    model = FOLDER / "smollm2"
    if not model.exists():
        with _scratch() as scratch:
            PackagedSmolLM2().prepare(_new(scratch)).rename(model)
    return model


def one_layer() -> Path:
    """Folder of the one-layer model; made at the first call."""
    model = FOLDER / "one-layer"
    if not model.exists():
        with _scratch() as scratch:
            _make_one_layer(smollm2(), _new(scratch)).rename(model)
    return model


def _make_one_layer(like: Path, folder: Path) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(like)
    config.num_hidden_layers = 1
    torch.manual_seed(SEED)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(like).save_pretrained(folder)
    return folder


def _new(scratch: str) -> Path:
    folder = Path(scratch) / "model"
    folder.mkdir()
    return folder


def _scratch() -> TemporaryDirectory[str]:
    """A folder beside the models, so that a complete model can be renamed into its place."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return TemporaryDirectory(dir=FOLDER)
