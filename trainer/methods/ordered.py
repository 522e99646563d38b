"""What the trainers of all methods have in common: the order of rows is ours, on any number of processes."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, SequentialSampler

from trainer.row_order import RowOrder


class Ordered:
    """Mixed into a trainer of transformers, before its class. `order` must be set before `train`.

    transformers draws the order from its random state, and lets the last batch of a pass be smaller: then two processes
    cannot learn what one would.
    """

    order: RowOrder
    args: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return _Rows(self.order, self.args.max_steps)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Every process measures all held-out rows: split among them, they would make other batches, and another loss.

        Args:
            eval_dataset: In place of that of the run.
        """
        if self.args.world_size == 1:
            loader: DataLoader[Any] = super().get_eval_dataloader(eval_dataset)  # type: ignore[misc]
            return loader
        trainer: Any = self
        rows = trainer.eval_dataset if eval_dataset is None else eval_dataset
        rows = trainer._remove_unused_columns(rows, description="evaluation")
        return DataLoader(
            rows,
            batch_size=self.args.per_device_eval_batch_size,
            collate_fn=trainer.data_collator,
            sampler=SequentialSampler(rows),
        )


class _Rows(Sampler[int]):  # type: ignore[misc]
    """The rows of a whole run. For transformers a run is one pass over them."""

    def __init__(self, order: RowOrder, steps: int) -> None:
        self._order, self._steps = order, steps

    def __len__(self) -> int:
        return self._steps * self._order.a_step

    def __iter__(self) -> Iterator[int]:
        return self._order.first(self._steps)


def barrier() -> None:
    """Waits for the other processes, if there are any."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
