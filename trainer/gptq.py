"""INT4 by GPTQ (Frantar et al., 2022): llm-compressor does it, in an environment of its own.

llm-compressor wants an older transformers and a newer compressed-tensors than vLLM, so it is no library of this
process. What comes back has the tensors that rounding to nearest makes, and gets the same config.json.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from trainer.errors import Unfit

_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
"""Variables that the other process gets. Keys of the store are none of its business."""
_QUIET = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "DO_NOT_TRACK": "1"}
_LAST_BYTES = 4096
_PROGRAM = Path(__file__).with_name("llm_compressor.py")
"""It is run and not imported: what it imports is in the other environment."""
HOW = "Install it with scripts/llm_compressor.sh, and set TIDEGATE_LLM_COMPRESSOR=.tools/llm-compressor/bin/python"


class GptqFailed(Exception):
    """llm-compressor ended with an error; the message has its last line."""


def check_python(python: Path | None) -> Path:
    """The Python of llm-compressor's environment. Raises Unfit: Nobody names one, or it is not there."""
    if python is None:
        raise Unfit(f"algorithm = 'gptq': llm-compressor does it, in an environment of its own. {HOW}")
    if not os.access(python, os.X_OK):
        raise Unfit(f"algorithm = 'gptq': TIDEGATE_LLM_COMPRESSOR = {python} is no program. {HOW}")
    return python


def run(python: Path, base: Path, work: Path, calibration: Sequence[Sequence[int]], scheme: dict[str, object]) -> Path:
    """Quantizes a model.

    Args:
        python: Of llm-compressor's environment.
        base: Folder of the model.
        work: An empty folder for what is made, and for the log.
        calibration: Token ids of examples.
        scheme: The format of the weights, in the words of compressed-tensors.

    Returns:
        The folder with the weights.

    Raises:
        GptqFailed: It ended with an error.
    """
    target, log, examples = work / "made", work / "llm-compressor.log", work / "calibration.json"
    examples.write_text(json.dumps([list(row) for row in calibration]))
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _QUIET
    argv = [str(python), "-I", str(_PROGRAM), str(base), str(target), str(examples), json.dumps(scheme)]
    with log.open("wb") as out:
        # The pipe stays open for as long as this process lives: the other one ends when it closes.
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=work)  # noqa: S603
        try:
            status = process.wait()
        finally:
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
    if status != 0:
        raise GptqFailed(f"llm-compressor ended with status {status}: {_last_line(log)} (its log: {log})")
    return target


def _last_line(log: Path) -> str:
    lines = log.read_bytes()[-_LAST_BYTES:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
