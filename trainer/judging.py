"""What becomes of the result of a run: the gate, the evaluation, and the report that says why."""

from dataclasses import dataclass
from pathlib import Path

from services.shared.clock import Clock
from services.shared.manifests import Manifest, Measured
from trainer import gate, loss_curve
from trainer.delivery import MERGED, way_of
from trainer.evaluation.decision import Way
from trainer.evaluator import EVALUATION, RESULT, Evaluator
from trainer.order import Order, Outcome
from trainer.registrar import Registrar
from trainer.report import files
from trainer.report.document import Facts
from trainer.watcher import Watcher


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a result comes from.

    Attributes:
        source: For people.
        base: The version that the run began with.
        compared: The version that the result is compared with; None: with none.
        start: What `base` is called in messages of the gate.
        advice: What people may change when the gate refuses the result: one sentence.
    """

    source: str
    base: Manifest | None
    compared: Manifest | None
    start: str
    advice: str = gate.LEARN_OTHERWISE


class Judging:
    """Made before the first step, so that what cannot be evaluated is told then.

    Raises:
        Unfit: A task, a metric or a check of the recipe cannot be used.
    """

    def __init__(self, order: Order, registrar: Registrar, watcher: Watcher, clock: Clock) -> None:
        self._order, self._watcher = order, watcher
        way_of(order, in_steps=False)
        plan, own = order.recipe.evaluate, (registrar, order.cache, watcher, clock)
        self._evaluator = Evaluator(plan, order.recipe.seed, order.folder / EVALUATION, *own) if plan else None

    def judge(self, outcome: Outcome, loss: Measured | None, origin: Origin) -> None:
        """Evaluates the result in the folder of the run, and writes its report.

        Args:
            outcome: Of the run; is told what was evaluated.
            loss: For the gate; None: it has nothing to judge.
            origin: Where the result comes from.

        Raises:
            Worse: It is to be published, and the gate or a threshold refuses it.
        """
        try:
            self._judge(outcome, loss, origin)
        except gate.Worse as error:
            self._report(outcome, origin, "refuse", (str(error),))
            raise
        decision = outcome.evaluated.decision if outcome.evaluated else None
        self._report(outcome, origin, decision.way if decision else "publish", decision.reasons if decision else ())

    def _judge(self, outcome: Outcome, loss: Measured | None, origin: Origin) -> None:
        recipe = self._order.recipe
        if recipe.publish and loss:
            gate.check(recipe.gate, loss, origin.start, origin.advice)
        if self._evaluator:
            named = recipe.publish.name if recipe.publish else None
            outcome.evaluated = self._evaluator.compare(self._order.folder / MERGED, RESULT, origin.compared, named)
            if recipe.publish:
                outcome.evaluated.check()

    def _report(self, outcome: Outcome, origin: Origin, way: Way, reasons: tuple[str, ...]) -> Path:
        curve = loss_curve.read(self._order.folder / "metrics.jsonl")
        facts = Facts(self._order.recipe, origin.source, origin.base, outcome, curve, way, reasons)
        return files.write(self._order.folder, facts)
