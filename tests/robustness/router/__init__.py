"""Router replicas and their Redis are lost while requests come: each has one good outcome, or a clean refusal."""
