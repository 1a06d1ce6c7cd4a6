"""What the mlx plugin brings."""
