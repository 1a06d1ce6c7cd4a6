"""mlxk: run and serve local language models on Apple's MLX; everything a person can name is a plugin."""

__version__ = "0.1.0"
