"""The command `mlxk convert`, which quantizes models with mlx-lm."""
