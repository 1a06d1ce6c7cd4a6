"""OpenBLAS under its standard names, for MLX on a Linux CPU."""
