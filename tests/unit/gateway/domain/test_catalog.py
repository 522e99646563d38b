"""The names that clients may ask for."""

import pytest

from services.gateway.domain.account import Caller
from services.gateway.domain.catalog import Catalog
from services.shared.errors import InvalidRequest, UnknownModel
from tidegate.router.v1 import router_pb2

CALLER = Caller("key", "t", "inference")
CATALOG = Catalog.of_pools(
    [
        router_pb2.Pool(
            name="m",
            adapters=["fr", "both", "other"],
            refused_adapters=[router_pb2.RefusedAdapter(name="wide", reason="its rank is 64")],
        ),
        router_pb2.Pool(name="other", adapters=["both"]),
    ]
)


def test_an_adapter_is_asked_for_by_pool_and_name_or_where_that_is_clear_by_its_own_name() -> None:
    assert CATALOG.model("m:fr", CALLER) == CATALOG.model("fr", CALLER)
    assert (CATALOG.model("fr", CALLER).id, CATALOG.model("other", CALLER).adapter) == ("m:fr", "")
    with pytest.raises(UnknownModel):
        CATALOG.model("both", CALLER)


def test_an_adapter_has_its_pool_as_parent() -> None:
    assert CATALOG.model("m:fr", CALLER).entry()["parent"] == "m"
    assert "parent" not in CATALOG.model("m", CALLER).entry()
    assert "both" not in [model.id for model in CATALOG.open_to(CALLER)]


def test_an_adapter_that_its_pool_refuses_is_told_why_and_a_missing_one_does_not_exist() -> None:
    with pytest.raises(InvalidRequest, match="its rank is 64") as caught:
        CATALOG.model("m:wide", CALLER)
    assert (caught.value.param, type(caught.value)) == ("model", InvalidRequest)
    with pytest.raises(UnknownModel):
        CATALOG.model("m:missing", CALLER)
    stranger = Caller("key", "t", "inference", models=("m",))
    with pytest.raises(UnknownModel):
        CATALOG.model("m:wide", stranger)
