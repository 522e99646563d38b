"""Tenants and their keys: who they are, what they may do, and how much."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

from services.gateway.domain.period import Period, first_day, seconds_left
from services.shared.classes import ServiceClass
from services.shared.errors import PermissionDenied, QuotaExceeded

DEFAULT_TENANT = "default"
ALL_TIERS = tuple(tier.label for tier in ServiceClass)
ORDINARY_TIERS = tuple(tier.label for tier in ServiceClass if tier is not ServiceClass.PRIORITY)
"""What a new tenant may use; the priority class has to be granted."""
_ORDINARY_CLASSES = (ServiceClass.DEFAULT, ServiceClass.FLEX, ServiceClass.BATCH, ServiceClass.PRIORITY)
"""The first of these that a key has is its class for service tier `auto`."""

Role = Literal["inference", "admin"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one key, for each model apart; None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """How many tokens a key may use in a period, prompts and answers together."""

    tokens: int
    period: Period


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant.

    Args:
        weight: its share of each class, beside tenants of weight 1.
        tiers: service tiers that its keys may use.
    """

    name: str
    weight: float = 1.0
    tiers: tuple[str, ...] = ORDINARY_TIERS


@dataclass(frozen=True, slots=True)
class Key:
    """The record of a key, without its secret. Times are in seconds since 1970.

    Args:
        prefix: first characters of the secret, to recognise it by.
        models: that it may use; None for all.
        tiers: that it may use; None for all that its tenant has.
    """

    id: str
    tenant: str
    name: str
    prefix: str
    role: Role
    models: tuple[str, ...] | None
    tiers: tuple[str, ...] | None
    limits: Limits
    budget: Budget | None
    created: float
    expires: float | None = None
    revoked: float | None = None


class Spending:
    """How much of its budget a key has used, as far as this gateway knows."""

    def __init__(self, budget: Budget, used: int, now: float) -> None:
        self.budget = budget
        self._used, self._since = used, self._period(now)

    def learn(self, used: int, now: float) -> None:
        """Takes what all gateways used, as the database has it. What this one has yet to write there still counts."""
        self._turn_over(now)
        self._used = max(self._used, used)

    def add(self, tokens: int) -> None:
        """Adds what a request used."""
        self._used += tokens

    def check(self, now: float) -> None:
        """Checks that some budget is left. The last request may exceed it, since a request is never cut off.

        Args:
            now: seconds since 1970.

        Raises:
            QuotaExceeded: the budget of this period is used up.
        """
        self._turn_over(now)
        if self._used >= self.budget.tokens:
            period = self.budget.period
            raise QuotaExceeded(
                f"You exceeded your quota of {self.budget.tokens} tokens per {period}.",
                retry_after_s=seconds_left(period, now),
            )

    def _turn_over(self, now: float) -> None:
        if self._since != self._period(now):
            self._used, self._since = 0, self._period(now)

    def _period(self, now: float) -> date:
        return first_day(self.budget.period, now)


@dataclass(frozen=True, slots=True)
class Caller:
    """The key behind a request, with everything that decides what the request may do."""

    key_id: str
    tenant: str
    role: Role
    weight: float = 1.0
    models: tuple[str, ...] | None = None
    tiers: frozenset[str] = frozenset(ALL_TIERS)
    limits: Limits = Limits()
    spending: Spending | None = None

    @classmethod
    def of(cls, key: Key, tenant: Tenant, spending: Spending | None) -> "Caller":
        """The caller that a key of the database stands for."""
        return cls(
            key_id=key.id,
            tenant=tenant.name,
            role=key.role,
            weight=tenant.weight,
            models=key.models,
            tiers=frozenset(tenant.tiers).intersection(tenant.tiers if key.tiers is None else key.tiers),
            limits=key.limits,
            spending=spending,
        )

    def may_use(self, model: str) -> bool:
        """The key may use this model. `pool:*` among its models stands for every adapter of the pool."""
        if self.models is None or model in self.models:
            return True
        pool, _, adapter = model.partition(":")
        return bool(adapter) and f"{pool}:*" in self.models

    def service_class(self, tier: str) -> ServiceClass:
        """The class for a service tier; `auto` is the key's best class, but never better than default.

        Raises:
            PermissionDenied: the key may not use the tier.
        """
        if tier == "auto":
            return self._ordinary_class()
        if tier not in self.tiers:
            raise PermissionDenied(f"This key has no right to the service tier '{tier}'.", param="service_tier")
        return ServiceClass.of_label(tier)

    def check_budget(self, now: float) -> None:
        """Checks the budget, if there is one. Raises QuotaExceeded."""
        if self.spending:
            self.spending.check(now)

    def spend(self, tokens: int) -> None:
        """Charges the budget, if there is one."""
        if self.spending:
            self.spending.add(tokens)

    def _ordinary_class(self) -> ServiceClass:
        for tier in _ORDINARY_CLASSES:
            if tier.label in self.tiers:
                return tier
        raise PermissionDenied("This key has no right to any service tier.", param="service_tier")
