"""Tenants apart: every answer is its own, no cache tells of another's prompt, and no secret is written anywhere."""
