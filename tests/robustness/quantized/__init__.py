"""Quantized weights are served as others are; a rollout replaces the worker, forth and back."""
