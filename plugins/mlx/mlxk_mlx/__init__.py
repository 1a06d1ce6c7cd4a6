"""Backend: models in MLX form, run by mlx-lm in one continuous batch."""
