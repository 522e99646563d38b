"""What all tests share. Hypothesis prints how to replay a failure, and is never failed for being slow."""

from hypothesis import settings

settings.register_profile("tidegate", print_blob=True, deadline=None)
settings.load_profile("tidegate")
