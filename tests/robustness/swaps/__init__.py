"""Rollouts under long answers: nobody waits for these, and they say which tokens came from which version."""
