"""What the gguf plugin brings."""
