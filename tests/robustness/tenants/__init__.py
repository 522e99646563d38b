"""Two tenants at once: responses are not mixed up, caches are not shared, and no secret is written anywhere."""
