"""What mlx-lm can run, determined from files without importing it."""
