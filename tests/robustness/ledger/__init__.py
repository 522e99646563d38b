"""The ledger says of every accepted request what the client saw, whatever becomes of its database and its gateway."""
