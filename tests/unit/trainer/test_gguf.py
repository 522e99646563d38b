"""What reading a GGUF file changes in the library that reads it, and puts back."""

import gguf
import pytest

from trainer.sources.gguf import read_once


class Reader:
    def __init__(self, path: str) -> None:
        self.path = path


def test_the_library_reads_a_file_once_and_is_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "GGUFReader", Reader)
    before = gguf.GGUFReader, gguf.get_tensor_name_map
    with read_once():
        assert gguf.GGUFReader("a") is gguf.GGUFReader("a") is not gguf.GGUFReader("b")
        arch = gguf.MODEL_ARCH.LLAMA
        assert gguf.get_tensor_name_map(arch, 2) is gguf.get_tensor_name_map(arch, 2)
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before


def test_an_error_leaves_the_library_as_it_was() -> None:
    before = gguf.GGUFReader
    with pytest.raises(FileNotFoundError), read_once():
        gguf.GGUFReader("nowhere.gguf")
    assert gguf.GGUFReader is before
