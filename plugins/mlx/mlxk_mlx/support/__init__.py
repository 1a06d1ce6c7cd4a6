"""Support checks: which models mlx-lm can run, from files and without importing it."""
