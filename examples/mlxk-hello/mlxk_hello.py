"""A third party's plugin for mlxk: the smallest complete example."""

__version__ = "0.1.0"
