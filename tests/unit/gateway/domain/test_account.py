import pytest

from services.gateway.domain.account import Budget, Caller, Key, Limits, Spending, Tenant
from services.gateway.domain.period import day_of, first_day, seconds_left
from services.shared.classes import ServiceClass
from services.shared.errors import PermissionDenied, QuotaExceeded

LEAP_DAY_NOON = 1_709_208_000.0  # 2024-02-29T12:00:00Z
DAY = 86_400.0


def caller(tenant_tiers: tuple[str, ...], key_tiers: tuple[str, ...] | None) -> Caller:
    key = Key("k", "t", "n", "tg-", "inference", None, key_tiers, Limits(), None, 0.0)
    return Caller.of(key, Tenant("t", tiers=tenant_tiers), None)


def test_a_key_may_do_no_more_than_its_tenant() -> None:
    both = caller(("default", "flex"), ("flex", "priority"))
    assert both.tiers == {"flex"}
    with pytest.raises(PermissionDenied, match="priority") as refused:
        both.service_class("priority")
    assert refused.value.param == "service_tier"


@pytest.mark.parametrize(
    ("tiers", "served"),
    [
        (("priority", "default", "flex"), ServiceClass.DEFAULT),
        (("flex", "batch"), ServiceClass.FLEX),
        (("priority",), ServiceClass.PRIORITY),
    ],
)
def test_auto_is_the_best_tier_below_priority(tiers: tuple[str, ...], served: ServiceClass) -> None:
    assert caller(tiers, None).service_class("auto") is served


def test_a_key_without_tiers_is_refused() -> None:
    with pytest.raises(PermissionDenied):
        caller(("flex",), ("batch",)).service_class("auto")


def test_models_by_name_and_adapters_by_pool() -> None:
    narrow = Caller("k", "t", "inference", models=("a", "b:*"))
    assert [name for name in ("a", "a:x", "b:x", "bb:x") if narrow.may_use(name)] == ["a", "b:x"]
    assert not narrow.may_use("b")
    assert Caller("k", "t", "inference").may_use("anything")


def test_a_budget_ends_and_begins_again() -> None:
    spending = Spending(Budget(100, "day"), 90, LEAP_DAY_NOON)
    spending.check(LEAP_DAY_NOON)
    spending.add(30)
    with pytest.raises(QuotaExceeded) as refused:
        spending.check(LEAP_DAY_NOON)
    assert refused.value.retry_after_s == DAY / 2
    assert (refused.value.wire.http, refused.value.wire.code) == (429, "insufficient_quota")
    spending.check(LEAP_DAY_NOON + DAY / 2)


def test_usage_that_the_database_does_not_have_yet_still_counts() -> None:
    spending = Spending(Budget(100, "month"), 0, LEAP_DAY_NOON)
    spending.add(100)
    spending.learn(40, LEAP_DAY_NOON)
    with pytest.raises(QuotaExceeded):
        spending.check(LEAP_DAY_NOON)
    spending.learn(5, LEAP_DAY_NOON + DAY)
    spending.check(LEAP_DAY_NOON + DAY)


def test_periods_are_those_of_utc() -> None:
    assert day_of(LEAP_DAY_NOON).isoformat() == "2024-02-29"
    assert first_day("month", LEAP_DAY_NOON).isoformat() == "2024-02-01"
    assert first_day("day", LEAP_DAY_NOON).isoformat() == "2024-02-29"
    assert seconds_left("month", LEAP_DAY_NOON) == DAY / 2
    assert seconds_left("month", LEAP_DAY_NOON - 28 * DAY) == 28.5 * DAY
