"""The ledger has what the client saw of every accepted request, even when its database or its gateway fails."""
