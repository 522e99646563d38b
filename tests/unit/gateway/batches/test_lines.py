from services.gateway.batches.lines import Line, Result, not_run

LINE = Line(index=3, number=5, custom_id="r3", model="m", at=0, size=1)


def test_results_can_be_stored_and_read_back() -> None:
    result = Result(3, True, {"a": "\n\u2028"})
    assert Result.load(result.dump().rstrip(b"\n")) == result
    assert result.dump().count(b"\n") == result.line().count(b"\n") == 1


def test_a_request_that_did_not_run_has_an_error_and_no_response() -> None:
    result = not_run("batch_1", LINE, "batch_cancelled", "It was cancelled.")
    assert result.failed
    assert result.document == {
        "id": "batch_req_1_3",
        "custom_id": "r3",
        "response": None,
        "error": {"code": "batch_cancelled", "message": "It was cancelled."},
    }
