"""Models of each kind give the answers of vLLM alone, and their weights change under load."""
