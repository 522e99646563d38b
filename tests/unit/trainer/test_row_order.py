"""The order of rows: every pass learns each row once, and what is skipped changes nothing before it."""

from trainer.row_order import RowOrder


def test_each_pass_has_every_row_once_in_an_order_of_its_own() -> None:
    rows = list(RowOrder(5, seed=1, a_step=2).first(5))
    assert sorted(rows[:5]) == sorted(rows[5:]) == [0, 1, 2, 3, 4]
    assert rows[:5] != rows[5:]


def test_the_order_depends_on_the_seed_and_on_nothing_else() -> None:
    assert list(RowOrder(50, 1, 4).first(20)) == list(RowOrder(50, 1, 4).first(20))
    assert list(RowOrder(50, 1, 4).first(20)) == list(RowOrder(50, 1, 8).first(10)), "however large a step is"
    assert list(RowOrder(50, 1, 4).first(20)) != list(RowOrder(50, 2, 4).first(20))


def test_a_batch_that_is_skipped_is_left_out_and_the_others_keep_their_order() -> None:
    whole = list(RowOrder(7, 3, 2).first(9))
    batches = [whole[at : at + 2] for at in range(0, 18, 2)]
    skipping = list(RowOrder(7, 3, 2, frozenset({2, 3, 5})).first(6))
    assert skipping == [row for place in (0, 1, 4, 6, 7, 8) for row in batches[place]]


def test_an_epoch_is_as_few_steps_as_learn_every_row() -> None:
    assert [RowOrder(10, 0, 4).steps(epochs) for epochs in (1, 2, 0.1)] == [3, 5, 1]
