"""lm-evaluation-harness as a client: log likelihoods and generations of small tasks, one by one and in batches.

The tasks are made here, because the harness would fetch its own from a hub. Tokens come from the cluster's tokenizer.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.tasks import TaskManager

BASE = os.environ["OPENAI_BASE_URL"]
MODEL = os.environ["LM_EVAL_MODEL"]
# Else the harness reads the files of all its tasks, for minutes.
NO_OTHER_TASKS = TaskManager(include_defaults=False)
DOCUMENTS = [
    {"question": "The capital of Japan is", "choices": [" Tokyo.", " Lisbon.", " a whale."], "answer": 0},
    {"question": "Two and two make", "choices": [" four.", " a tide table."], "answer": 0},
    {"question": "At high tide the water is", "choices": [" high.", " low, and then it is high again."], "answer": 0},
]


def task(name: str, data: Path, **fields: Any) -> dict[str, Any]:
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
        **fields,
    }


def likelihoods(data: Path) -> dict[str, Any]:
    return task(
        "likelihoods",
        data,
        output_type="multiple_choice",
        doc_to_choice="{{choices}}",
        doc_to_target="{{answer}}",
        # The choices begin with the space themselves.
        target_delimiter="",
        metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    )


def generations(data: Path) -> dict[str, Any]:
    return task(
        "generations",
        data,
        output_type="generate_until",
        doc_to_target="{{choices[answer]}}",
        generation_kwargs={"until": ["\n\n"], "max_gen_toks": 8, "temperature": 0},
        metric_list=[{"metric": "bypass"}],
    )


def evaluate(kind: str, tasks: list[dict[str, Any]], endpoint: str, **options: Any) -> dict[str, list[Any]]:
    """Returns the model's responses to each document, by task."""
    chat = kind == "local-chat-completions"
    arguments = {"model": MODEL, "base_url": f"{BASE}/{endpoint}", "max_retries": 1, **options}
    batch = arguments.pop("batch_size", 1)
    found = lm_eval.simple_evaluate(
        kind,
        model_args=arguments,
        tasks=tasks,
        batch_size=batch,
        bootstrap_iters=0,
        task_manager=NO_OTHER_TASKS,
        apply_chat_template=chat,
    )
    samples = found["samples"]
    return {name: [sample["resps"] for sample in samples[name]] for name in samples}


def main() -> None:
    data = Path(os.environ["HOME"]) / "documents.jsonl"
    data.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    both = [likelihoods(data), generations(data)]
    # The tokenizer's configuration is for admin keys.
    remote = {"tokenizer_backend": "remote", "auth_token": os.environ["TIDEGATE_ADMIN_KEY"]}
    told = {
        "documents": DOCUMENTS,
        "single": evaluate("local-completions", both, "completions", **remote),
        "batched": evaluate("local-completions", both, "completions", **remote, batch_size=4, num_concurrent=2),
        "texts": evaluate("local-completions", both, "completions", **remote, tokenized_requests=False, batch_size=4),
        "chat": evaluate("local-chat-completions", both[1:], "chat/completions", eos_string="<|im_end|>"),
    }
    sys.stdout.write(json.dumps(told) + "\n")


main()
