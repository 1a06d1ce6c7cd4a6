"""The command convert of mlxk: models quantized through mlx-lm."""
