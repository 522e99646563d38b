"""tidegate_trainer_*: the queue of jobs, and the one that runs here."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from trainer.jobs.job import Progress

STATES = ("queued", "running", "succeeded", "failed", "cancelled")


class Metrics:
    """What a trainer counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._jobs = Gauge("tidegate_trainer_jobs", "Jobs in the database", ["state"], registry=self.registry)
        self._ended = Counter("tidegate_trainer_runs", "Runs that ended here", ["outcome"], registry=self.registry)
        self._step = Gauge("tidegate_trainer_step", "Step of the job that runs here", registry=self.registry)
        self._steps = Gauge(
            "tidegate_trainer_steps", "Steps that the job that runs here will make", registry=self.registry
        )
        self._loss = Gauge(
            "tidegate_trainer_loss", "Training loss of the job that runs here, nats a token", registry=self.registry
        )
        for outcome in ("succeeded", "failed", "cancelled", "lost"):
            self._ended.labels(outcome)

    def queue(self, counts: dict[str, int]) -> None:
        """Sets the number of jobs in each state."""
        for state in STATES:
            self._jobs.labels(state).set(counts.get(state, 0))

    def progress(self, progress: Progress) -> None:
        """Sets step and loss of the job that runs here."""
        self._step.set(progress.step)
        self._steps.set(progress.steps)
        self._loss.set(progress.loss if progress.loss is not None else float("nan"))

    def ended(self, outcome: str) -> None:
        """Counts a run by its outcome, and resets its progress."""
        self._ended.labels(outcome).inc()
        self.progress(Progress())
