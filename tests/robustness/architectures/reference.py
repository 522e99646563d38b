"""`python -m tests.robustness.architectures.reference TASKS ANSWERS`: what vLLM itself answers, without Tidegate.

TASKS is a JSON file of models and questions. The answers go to a file too, because vLLM prints.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.robustness.architectures.answer import CACHE_GIB, RUNNING, TOKENS, Answer, Question
from tests.robustness.architectures.kinds import CONTEXT


def main() -> None:
    tasks, answers = map(Path, sys.argv[1:])
    given = [
        [asdict(answer) for answer in _answers(task["folder"], [Question(**each) for each in task["questions"]])]
        for task in json.loads(tasks.read_text())
    ]
    answers.write_text(json.dumps(given))


def _answers(folder: str, questions: list[Question]) -> list[Answer]:
    """Asks an engine of its own, one question after another."""
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    llm = LLM(
        model=folder,
        dtype="float32",
        max_model_len=CONTEXT,
        max_num_seqs=RUNNING,
        kv_cache_memory_bytes=int(CACHE_GIB * 2**30),
        enforce_eager=True,
        load_format="safetensors",
    )
    try:
        return [_answer(llm, question) for question in questions]
    finally:
        del llm
        cleanup_dist_env_and_memory()


def _answer(llm: Any, question: Question) -> Answer:
    from vllm import SamplingParams

    params = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    if question.chat:
        (output,) = llm.chat([{"role": "user", "content": question.text}], params, use_tqdm=False)
    else:
        (output,) = llm.generate([question.text], params, use_tqdm=False)
    (choice,) = output.outputs
    return Answer(list(output.prompt_token_ids), list(choice.token_ids), choice.text)


if __name__ == "__main__":
    main()
