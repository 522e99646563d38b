"""What reading a GGUF file changes in the library that reads it, and puts back."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import save_file

from trainer.sources.gguf import read_once, save
from trainer.sources.source import WrongSource


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


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may have more than 4 KiB: the writer is told what a full disk tells. pytest writes files too, later."""
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


class Converted:
    def save_pretrained(self, folder: Path) -> None:
        save_file({"weights": torch.zeros(4096)}, folder / "model.safetensors")


def test_a_disk_without_room_for_the_converted_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongSource, match="Set TMPDIR to a disk with room"), small_disk():
        save(Converted(), Converted(), tmp_path)
