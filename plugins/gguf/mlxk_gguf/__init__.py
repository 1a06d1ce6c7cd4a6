"""Backend: GGUF files run by MLX."""
