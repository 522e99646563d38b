from services.gateway.domain.cost import DEFAULT_ANSWER_TOKENS, Cost, estimate


def test_cost() -> None:
    assert estimate(9, None, 2, 8192) == Cost(3, 2 * DEFAULT_ANSWER_TOKENS)
    assert estimate(0, 7, 1, 8192) == Cost(1, 7)
    assert estimate(10**9, 10**9, 1, 100) == Cost(100, 100)
