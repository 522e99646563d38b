"""Quantized weights change in place only where that was tried and was exact."""

from services.worker.engine.vllm.reload import TRIALS, Trial, no_swap


def trial(method: str, device: str, *, exact: bool) -> Trial:
    return Trial(method, device, exact, "a test")


def test_weights_that_are_not_quantized_may_change() -> None:
    assert no_swap(None, "cpu") is None


def test_what_was_exact_may_change_on_that_device_only() -> None:
    trials = [trial("fp8", "cuda", exact=True)]
    assert no_swap("fp8", "cuda", trials) is None
    assert "not proved" in (no_swap("fp8", "cpu", trials) or "")
    assert "not proved" in (no_swap("awq", "cuda", trials) or "")


def test_one_trial_that_was_not_exact_forbids_it() -> None:
    trials = [trial("fp8", "cuda", exact=True), trial("fp8", "cuda", exact=False)]
    assert "does not answer" in (no_swap("fp8", "cuda", trials) or "")


def test_int8_on_a_cpu_does_not_change_in_place() -> None:
    said = no_swap("compressed-tensors", "cpu")
    assert said is not None
    assert "(compressed-tensors)" in said
    assert "only workers that start on the version" in said
    assert all(each.seen for each in TRIALS)
