"""Runs checks against a target."""

import asyncio
from collections.abc import Iterable, Mapping

import httpx

from tests.conformance.api import Api, NotServed, Refused
from tests.conformance.check import Check, Outcome
from tests.conformance.target import Target

AT_ONCE = 6
CHECK_S = 300.0
SHOWN_CHARACTERS = 400


async def run(target: Target, checks: Iterable[Check], at_once: int = AT_ONCE) -> dict[str, Outcome]:
    """Returns the outcome of each check by its name, in their order."""
    gate = asyncio.Semaphore(at_once)
    async with Api(target) as api:

        async def one(check: Check) -> tuple[str, Outcome]:
            async with gate:
                return check.name, await _outcome(api, check)

        return dict(await asyncio.gather(*map(one, checks)))


async def _outcome(api: Api, check: Check) -> Outcome:
    if not check.needs <= api.target.can:
        return Outcome("left out", f"needs {', '.join(sorted(check.needs - api.target.can))}")
    try:
        async with asyncio.timeout(CHECK_S):
            await check.function(api)
    except NotServed as missing:
        return Outcome("not served", str(missing)[:SHOWN_CHARACTERS])
    except Refused as refusal:
        return Outcome("refused", str(refusal)[:SHOWN_CHARACTERS])
    except (AssertionError, LookupError, TypeError, ValueError, AttributeError, TimeoutError, httpx.HTTPError) as error:
        return Outcome("failed", f"{type(error).__name__}: {error}"[:SHOWN_CHARACTERS])
    return Outcome("passed")


def with_verdict(outcomes: Mapping[str, Outcome], *verdicts: str) -> dict[str, str]:
    """Returns names and details of the checks with one of the verdicts."""
    return {name: outcome.detail for name, outcome in outcomes.items() if outcome.verdict in verdicts}
