"""tidegate_trainer_*: the queue of jobs, and the one that runs here."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from trainer.jobs.job import Progress

STATES = ("queued", "running", "succeeded", "failed", "cancelled")


class Metrics:
    """What a trainer counts."""

    def __init__(self, peak_tflops: float | None = None) -> None:
        """`peak_tflops`: of one device; None: that of its name, if it is known."""
        self._peak_tflops = peak_tflops
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
        self._rate = Gauge(
            "tidegate_trainer_learning_rate", "Learning rate of the job that runs here", registry=self.registry
        )
        self._grad_norm = Gauge(
            "tidegate_trainer_gradient_norm",
            "Norm of the gradient of the job that runs here, before clipping",
            registry=self.registry,
        )
        self._tokens = Gauge(
            "tidegate_trainer_tokens_per_second", "Tokens that the job that runs here learns", registry=self.registry
        )
        self._memory = Gauge(
            "tidegate_trainer_memory_bytes",
            "Most that the job that runs here has taken, of the GPU or else of the machine",
            registry=self.registry,
        )
        self._mfu = Gauge(
            "tidegate_trainer_mfu_ratio",
            "Model FLOPs utilization of the job that runs here, where the device's peak is known",
            registry=self.registry,
        )
        for outcome in ("succeeded", "failed", "cancelled", "lost"):
            self._ended.labels(outcome)
        self.progress(Progress())

    def queue(self, counts: dict[str, int]) -> None:
        """Sets the number of jobs in each state."""
        for state in STATES:
            self._jobs.labels(state).set(counts.get(state, 0))

    def progress(self, progress: Progress) -> None:
        """Sets the figures of the job that runs here; one that is not known is NaN."""
        self._step.set(progress.step)
        self._steps.set(progress.steps)
        figures = progress.figures
        for gauge, value in (
            (self._loss, progress.loss),
            (self._rate, figures.learning_rate),
            (self._grad_norm, figures.grad_norm),
            (self._tokens, figures.tokens_per_second),
            (self._memory, figures.memory_bytes),
            (self._mfu, figures.mfu(self._peak_tflops)),
        ):
            gauge.set(float("nan") if value is None else value)

    def ended(self, outcome: str) -> None:
        """Counts a run by its outcome, and resets its progress."""
        self._ended.labels(outcome).inc()
        self.progress(Progress())
