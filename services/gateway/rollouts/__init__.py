"""The history of rollouts in the database, which keeps what Redis forgets."""
