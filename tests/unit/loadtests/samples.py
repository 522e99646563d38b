"""Samples and profiles for tests, built from the few figures that matter."""

from typing import Any

from loadtests.profile import Profile
from loadtests.sample import Outcome, Sample


def answered(due_s: float = 0.0, *, first: float = 0.1, end: float = 1.0, tokens: int = 10, **other: Any) -> Sample:
    """`first` and `end` are seconds after the due time. The tokens come at equal distances."""
    gap = (end - first) / max(tokens - 1, 1)
    times = [due_s + first + gap * n for n in range(tokens)]
    given: dict[str, Any] = {"index": 0, "tier": "default", "streamed": True, **other}
    sample = Sample(due_s=due_s, sent_s=due_s, token_times=times, output_tokens=tokens, prompt_tokens=5, **given)
    sample.succeed(due_s + end)
    return sample


def failed(due_s: float = 0.0, outcome: Outcome = Outcome.TIMEOUT, *, end: float = 1.0) -> Sample:
    sample = Sample(index=0, tier="default", streamed=True, due_s=due_s)
    if outcome is not Outcome.NOT_SENT:
        sample.sent_s = due_s
        sample.fail(outcome, "why", due_s + end)
    return sample


def profile(**changes: Any) -> Profile:
    document = {
        "name": "test",
        "duration_s": 10,
        "arrivals": {"process": "constant", "rate": 10},
        "prompt_tokens": 20,
        "output_tokens": 5,
        "tiers": {"default": {}},
    }
    return Profile.model_validate(document | changes)
