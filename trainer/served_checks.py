"""Generation checks: questions to the served candidate, through the gateway, and what its answers must be like."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from trainer.errors import Unfit
from trainer.evaluation_plan import ServedCheck
from trainer.teacher import Endpoint

if TYPE_CHECKING:
    import httpx

CANARY = {"x-tidegate-canary": "true"}
VERSION, IGNORED = "x-tidegate-model-version", "x-tidegate-ignored"
_PASSES = frozenset({408, 409, 425, 429})
"""Client errors that pass by themselves; all of 500 and more may pass too."""
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks came to. failures: a sentence for each answer that is not as it should be."""

    passed: int
    asked: int
    failures: tuple[str, ...]
    is_good: bool

    def __str__(self) -> str:
        """For people, and for the history of rollouts."""
        return f"{self.passed} of {self.asked} generation checks passed: {'; '.join(self.failures) or 'all'}"


class NotServed(Exception):
    """The candidate did not answer yet; the message says what did."""


class ServedChecks:
    """Asks a candidate by the header that sends a request to the canary.

    Args:
        checks: The recipe's.
        least: Share of them that must pass.
        gateway: Where to ask, with the key of a tenant that may ask for the canary.
    """

    def __init__(self, checks: Sequence[ServedCheck], least: float, gateway: Endpoint) -> None:
        self._checks, self._least, self._gateway = tuple(checks), least, gateway

    async def ask(self, model: str, version: str) -> Verdict:
        """Asks every question once.

        Args:
            model: Name of the pool.
            version: The candidate; only its answers count.

        Raises:
            NotServed: Another version answered, or none did. It may be asked again.
        """
        import httpx

        gateway, failures = self._gateway, []
        headers = CANARY | ({"authorization": f"Bearer {gateway.key}"} if gateway.key else {})
        async with httpx.AsyncClient(timeout=gateway.limit_s, headers=headers, follow_redirects=False) as http:
            for number, check in enumerate(self._checks, start=1):
                wrong = judge(check, await self._answer(http, check, model, version))
                if wrong:
                    failures.append(f"{check.name or number}: {wrong}")
        passed = len(self._checks) - len(failures)
        return Verdict(passed, len(self._checks), tuple(failures), passed >= self._least * len(self._checks))

    async def _answer(self, http: "httpx.AsyncClient", check: ServedCheck, model: str, version: str) -> str | None:
        """The text; None where the gateway refuses the question."""
        import httpx

        body = {
            "model": model,
            "messages": [{"role": "user", "content": check.prompt}],
            "max_completion_tokens": check.max_tokens,
            "temperature": 0,
        }
        try:
            response = await http.post(f"{self._gateway.url.rstrip('/')}/chat/completions", json=body)
        except httpx.TransportError as error:
            raise NotServed(f"{self._gateway.url} did not answer: {type(error).__name__}") from None
        if response.status_code in _PASSES or response.status_code >= 500:
            raise NotServed(f"{self._gateway.url} answered with {response.status_code}")
        if response.is_error:
            return None
        if (answered := response.headers.get(VERSION, "")) != version:
            ignored = (
                ": the tenant of the key is not one of rollout.canary_tenants of the pool"
                if "x-tidegate-canary" in response.headers.get(IGNORED, "")
                else ""
            )
            raise NotServed(f"version {answered[:12] or 'of no name'} answered, and not {version[:12]}{ignored}")
        content = response.json()["choices"][0]["message"].get("content")
        return content if isinstance(content, str) else ""


def judge(check: ServedCheck, answer: str | None) -> str | None:
    """What is wrong with an answer; None if nothing is.

    Args:
        check: What it must be like.
        answer: The text; None: the gateway refused the question.
    """
    if answer is None:
        return "the gateway refused the question"
    if check.pattern is not None and not re.search(check.pattern, answer):
        return f"the answer {_short(answer)} does not match {check.pattern!r}"
    if check.json_schema is not None:
        try:
            document: Any = json.loads(answer)
        except ValueError:
            return f"the answer {_short(answer)} is not JSON"
        validator = jsonschema_rs.validator_for(check.json_schema)
        if error := next(validator.iter_errors(document), None):
            return f"the answer {_short(answer)} does not fit json_schema: {error.message[:_SHOWN]}"
    return None


def check_schemas(checks: Sequence[ServedCheck]) -> None:
    """Raises Unfit for a schema that is none."""
    for number, check in enumerate(checks, start=1):
        if check.json_schema is None:
            continue
        try:
            jsonschema_rs.validator_for(check.json_schema)
        except (jsonschema_rs.ValidationError, ValueError) as error:
            raise Unfit(f"evaluate.served: {check.name or number}: json_schema: {str(error)[:300]}") from None


def _short(answer: str) -> str:
    return repr(answer[:_SHOWN])
