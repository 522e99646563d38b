"""Weights change in place only where that was tried and was exact."""

from services.worker.engine.vllm.reload import TRIALS, Trial, no_swap
from tests.robustness.architectures import seen


def trial(method: str | None, device: str, *, exact: bool) -> Trial:
    return Trial("Llama", method, device, exact, "a test")


def test_what_was_exact_may_change_on_that_device_only() -> None:
    trials = [trial("fp8", "cuda", exact=True)]
    assert no_swap("Llama", "fp8", "cuda", trials) is None
    assert "is not proved" in (no_swap("Llama", "fp8", "cpu", trials) or "")
    assert "is not proved" in (no_swap("Llama", "awq", "cuda", trials) or "")
    assert "is not proved" in (no_swap("Llama", None, "cuda", trials) or "")
    assert "is not proved" in (no_swap("Mixtral", "fp8", "cuda", trials) or "")


def test_one_trial_that_was_not_exact_forbids_it() -> None:
    trials = [trial(None, "cuda", exact=True), trial(None, "cuda", exact=False)]
    assert "does not answer" in (no_swap("Llama", None, "cuda", trials) or "")


def test_a_llama_changes_in_place_on_a_cpu_unless_it_is_quantized() -> None:
    assert no_swap("LlamaForCausalLM", None, "cpu") is None
    assert no_swap("LlamaForCausalLM", "compressed-tensors", "cpu") == (
        "LlamaForCausalLM, quantized (compressed-tensors), on this device (cpu) does not answer as a fresh start does "
        "after its weights change in place: only workers that start on the version can serve it"
    )


def test_the_list_says_what_the_drill_saw() -> None:
    """Of each kind without quantization on a CPU: `python -m tests.robustness.architectures` tries it."""
    exact = {each.architecture for each in TRIALS if (each.method, each.device, each.exact) == (None, "cpu", True)}
    assert exact == {row.architecture for row in seen.read().values() if row.way is seen.Way.IN_PLACE}


def test_each_entry_says_what_was_tried() -> None:
    assert all(each.seen for each in TRIALS)
