"""python llm_compressor.py BASE TARGET CALIBRATION SCHEME: INT4 by GPTQ, in llm-compressor's own environment.

It imports nothing of this project. CALIBRATION is a JSON file with lists of token ids, SCHEME the weights' format in
the words of compressed-tensors, as JSON. Standard input is a lifeline: when it closes, the caller is gone, and this
process ends too.
"""

import json
import os
import sys
import threading
from pathlib import Path


def main() -> None:
    """Quantizes the model that the arguments name."""
    base, target, calibration, scheme = sys.argv[1:]
    threading.Thread(target=_end_with_caller, daemon=True).start()
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = json.loads(Path(calibration).read_text())
    data = Dataset.from_list([{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in rows])
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto", local_files_only=True)
    groups = {"group_0": {"targets": ["Linear"], "weights": json.loads(scheme)}}
    oneshot(
        model=model,
        processor=AutoTokenizer.from_pretrained(base, local_files_only=True),
        dataset=data,
        recipe=GPTQModifier(config_groups=groups, ignore=["lm_head"]),
        max_seq_length=max(map(len, rows)),
        num_calibration_samples=len(rows),
        shuffle_calibration_samples=False,
    )
    model.save_pretrained(target, save_compressed=True)


def _end_with_caller() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
