"""A network in MLX of its own, for mlxk."""

__version__ = "0.1.0"
