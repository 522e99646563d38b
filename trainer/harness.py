"""lm-evaluation-harness: what a model reaches in tasks. https://github.com/EleutherAI/lm-evaluation-harness."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.errors import Unfit
from trainer.evaluation.figures import Figure, Figures
from trainer.evaluation.suites import held_out_text, suite
from trainer.evaluation_plan import OWN_TASKS, Evaluation
from trainer.loss_curve import Diverged
from trainer.methods.base_model import attention, config_of

_UNFIT = (OSError, ValueError, LookupError, ImportError, RuntimeError)
"""What loading a task ends with: its data is away or not as expected, or a package is missing."""
_MAX_LISTED = 20


class Harness:
    """The tasks of an evaluation, loaded once.

    Args:
        plan: What is to be measured.
        seed: Chooses the examples before questions.
        texts: Of `plan.text`.
        cache: Folder for what is made of the tasks' data.

    Raises:
        Unfit: A task cannot be loaded, or a threshold names a metric that no task measures.
    """

    def __init__(self, plan: Evaluation, seed: int, texts: Sequence[str], cache: Path) -> None:
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        self._plan, self._seed = plan, seed
        self._loaded: Any = _load(plan, texts, cache)
        for task in self._loaded["tasks"].values():
            shots = plan.num_fewshot if task.get_config("num_fewshot") != 0 else 0
            if shots is not None or task.get_config("num_fewshot") is None:
                task.set_config("num_fewshot", shots or 0)
            if getattr(task, "UNSAFE_CODE", False):
                raise Unfit(f"evaluate.tasks: {task.task_name} runs code that the model writes, which is not done here")
        _check_metrics(plan, self._loaded)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def measure(self, folder: Path) -> Figures:
        """What the model in `folder` reaches, in the precision of its weights.

        Raises:
            Diverged: A figure is not finite.
            Unfit: The model cannot be asked in this way.
        """
        try:
            found = self._asked(folder)
        except _UNFIT as error:
            raise Unfit(f"a model cannot be evaluated: {' '.join(str(error).split())[:500]}") from None
        return dict(_figures(found))

    def _asked(self, folder: Path) -> Mapping[str, Any]:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", local_files_only=True, attn_implementation=attention(config_of(folder))
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if self._plan.apply_chat_template and tokenizer.chat_template is None:
            raise Unfit("evaluate.apply_chat_template is true, and the model has no chat template")
        model = _Quiet(pretrained=model.to(device).eval(), tokenizer=tokenizer, batch_size=self._plan.batch)
        self._take_seed()
        found: Mapping[str, Any] = lm_eval.evaluate(
            lm=model,
            task_dict=self._loaded,
            limit=self._plan.limit,
            bootstrap_iters=0,
            log_samples=False,
            apply_chat_template=self._plan.apply_chat_template,
            fewshot_as_multiturn=self._plan.apply_chat_template,
        )
        return found

    def _take_seed(self) -> None:
        """Every model is asked the same."""
        for task in self._loaded["tasks"].values():
            task.set_fewshot_seed(seed=self._seed)


class _Quiet(HFLM):  # type: ignore[misc]
    """Without progress bars, which would disturb the caller's."""

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> Any:
        return super().loglikelihood_rolling(requests, disable_tqdm=True)

    def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = True, **options: Any) -> Any:
        return super()._loglikelihood_tokens(requests, disable_tqdm=True, **options)

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> Any:
        return super().generate_until(requests, disable_tqdm=True)


def _load(plan: Evaluation, texts: Sequence[str], cache: Path) -> Any:
    own = [suite(name, cache) for name in plan.tasks if name in OWN_TASKS]
    if plan.text is not None:
        own.append(held_out_text(texts, cache))
    others = [name for name in plan.tasks if name not in OWN_TASKS]
    # To know the harness's own tasks takes seconds: it reads the files of all of them.
    manager = TaskManager(include_defaults=bool(others))
    if strangers := sorted(set(others) - set(manager.all_tasks)):
        raise Unfit(
            f"evaluate.tasks: lm-evaluation-harness has no {strangers[0]}. Tidegate's own are {', '.join(OWN_TASKS)}"
        )
    try:
        return manager.load([*own, *others])
    except _UNFIT as error:
        raise Unfit(
            f"evaluate.tasks: {', '.join(others) or 'own tasks'}: {' '.join(str(error).split())[:500]}"
        ) from None


def _check_metrics(plan: Evaluation, loaded: Mapping[str, Any]) -> None:
    """Groups make figures of their own, whose names are known only after."""
    if loaded.get("groups"):
        return
    known = {f"{name}/{metric}" for name, task in loaded["tasks"].items() for metric in task.aggregation()}
    for threshold in plan.thresholds:
        if threshold.metric.partition(",")[0] not in known:
            listed = sorted(known)
            shown = ", ".join(listed[:_MAX_LISTED]) + (", ..." if len(listed) > _MAX_LISTED else "")
            raise Unfit(f"evaluate.thresholds: no task measures {threshold.metric!r}. Known: {shown}")


def _figures(found: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    for task, told in found["results"].items():
        for key, value in told.items():
            metric, comma, kept = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            if not math.isfinite(value):
                raise Diverged(f"{task}/{metric} of an evaluation is {value}")
            name = f"{task}/{metric}" if kept == "none" else f"{task}/{metric},{kept}"
            better = found["higher_is_better"].get(task, {}).get(metric)
            documents = int(told.get("sample_len") or 0)
            yield name, Figure(value=float(value), higher_is_better=better is not False, documents=documents)
