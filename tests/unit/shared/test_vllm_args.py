"""Which arguments of vLLM `args` may not set. tests/contract/test_vllm_arguments.py compares the lists with vLLM."""

import pytest

from services.shared.engine_settings import VllmEngine
from services.shared.vllm_args import DENIED, FIRST_CLASS, refusal


def test_what_has_a_key_of_its_own_names_that_key() -> None:
    assert set(FIRST_CLASS.values()) <= set(VllmEngine.model_fields)
    assert refusal("tensor_parallel_size") == "set the key `tensor_parallel` of `engine` instead"


@pytest.mark.parametrize(
    "name",
    [
        "trust_remote_code",
        "served_model_name",
        "scheduling_policy",
        "load_format",
        "hf_token",
        "master_port",
        "worker_cls",
    ],
)
def test_what_would_break_a_promise_is_refused_with_the_reason(name: str) -> None:
    assert refusal(name) == f"not allowed, because {DENIED[name]}"


def test_names_of_the_command_line_are_the_same_names() -> None:
    assert refusal("--trust-remote-code") == refusal("trust_remote_code")


@pytest.mark.parametrize("name", ["block_size", "seed", "no_such_argument"])
def test_of_other_names_the_worker_decides(name: str) -> None:
    assert refusal(name) is None


def test_no_name_is_in_both_lists() -> None:
    assert FIRST_CLASS.keys().isdisjoint(DENIED)
