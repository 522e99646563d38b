from typing import Any

import pytest

from services.gateway.domain.account import ORDINARY_TIERS
from services.gateway.http.routes.admin_keys import NewKeyRequest, RotateRequest
from services.gateway.http.routes.admin_tenants import TenantRequest
from services.gateway.openai import validation
from services.shared.errors import InvalidRequest


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "a", "role": "root"}, "role"),
        ({"name": "a", "tenant": "../x"}, "tenant"),
        ({"name": "a", "models": []}, "models"),
        ({"name": "a", "models": ["a b"]}, "models[0]"),
        ({"name": "a", "tiers": ["gold"]}, "tiers[0]"),
        ({"name": "a", "requests_per_minute": 0}, "requests_per_minute"),
        ({"name": "a", "tokens_per_minute": 1.5}, "tokens_per_minute"),
        ({"name": "a", "concurrency": -1}, "concurrency"),
        ({"name": "a", "budget_tokens": 5}, "budget_period"),
        ({"name": "a", "budget_period": "day"}, "budget_tokens"),
        ({"name": "a", "budget_tokens": 5, "budget_period": "year"}, "budget_period"),
        ({"name": "a", "expires_in_s": 0}, "expires_in_s"),
        ({"name": "a", "digest": "00"}, "digest"),
    ],
)
def test_wrong_fields_are_named(wanted: dict[str, Any], param: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        validation.check(NewKeyRequest, wanted)
    assert refused.value.param == param


@pytest.mark.parametrize("wanted", [{}, {"name": "a", "weight": 0}, {"name": "a", "tiers": []}, {"name": "a b"}])
def test_wrong_tenants_are_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        validation.check(TenantRequest, wanted)


def test_absent_fields_set_no_limits() -> None:
    assert validation.check(TenantRequest, {"name": "acme"}).tenant().tiers == ORDINARY_TIERS
    assert validation.check(RotateRequest, {}).grace_s == 0
    wanted = validation.check(NewKeyRequest, {"name": "a"})
    assert (wanted.tenant, wanted.role, wanted.models, wanted.budget_tokens) == ("default", "inference", None, None)
