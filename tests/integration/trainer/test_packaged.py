"""The packaged SmolLM2, converted for real."""

from pathlib import Path

import pytest

from trainer.checkpoint import read
from trainer.publish import Provenance, describe
from trainer.sources.gguf import GgufFile
from trainer.sources.pick import pick
from trainer.sources.source import WrongSource


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_becomes_a_checkpoint_that_a_folder_import_takes_as_it_is(smollm2_folder: Path, tmp_path: Path) -> None:
    made = read(smollm2_folder)
    assert (made.architecture, made.vocab_size) == ("LlamaForCausalLM", 49_152)
    assert {file.name for file in made.tokenizer} >= {"tokenizer.json", "chat_template.jinja"}
    again = read(pick(str(smollm2_folder)).prepare(tmp_path / "unused"))
    described = [describe(found, model="smol", provenance=Provenance("a test"), created=1) for found in (made, again)]
    assert described[0].version == described[1].version


def test_a_broken_gguf_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(WrongSource, match=r"broken\.gguf cannot be converted"):
        GgufFile(file).prepare(tmp_path / "out")
