"""SmolLM2 on vLLM changes its weights under streams, again and again."""
