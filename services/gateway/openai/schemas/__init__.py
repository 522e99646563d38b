"""Schemas of functions that must be called right: a function's own JSON schema becomes one that a grammar can hold."""
