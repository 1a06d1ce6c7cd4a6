"""Command pull: downloads a model after a preflight that writes nothing."""
