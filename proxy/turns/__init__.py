"""A turn: what a call brings, the prompt, begin and regenerate."""
