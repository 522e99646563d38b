"""What all tests share. Hypothesis prints how to replay a failure, and is never failed for being slow."""

from hypothesis import HealthCheck, settings

settings.register_profile("tidegate", print_blob=True, deadline=None)
# State machines on real servers: thousands of steps instead of hundreds.
settings.register_profile(
    "deep",
    settings.get_profile("tidegate"),
    max_examples=2000,
    stateful_step_count=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tidegate")
