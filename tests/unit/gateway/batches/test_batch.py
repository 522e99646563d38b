import pytest

from services.gateway.batches.batch import Batch, Status

BATCH = Batch(
    id="batch_1", tenant="t", key_id="k", endpoint="/v1/responses", input_file_id="file-1", created=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("entered", "status"),
    [
        ("in_progress", "cancelling"),
        ("finalizing", "cancelling"),
        ("completed", "cancelled"),
        ("failed", "cancelled"),
        ("expired", "cancelled"),
        ("cancelled", "cancelled"),
    ],
)
def test_a_batch_that_is_being_cancelled_ends_cancelled(entered: Status, status: Status) -> None:
    batch = BATCH.entered("cancelling", 5).entered(entered, 6)
    assert batch.status == status
    assert batch.reached == {"cancelling": 5, **({"cancelled": 6} if status == "cancelled" else {})}


def test_entering_a_status_again_keeps_the_first_time() -> None:
    assert BATCH.entered("finalizing", 5).entered("finalizing", 6).document()["finalizing_at"] == 5
