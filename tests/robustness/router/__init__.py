"""Routers and their Redis fail under load: every request gets the right response or a clean refusal."""
