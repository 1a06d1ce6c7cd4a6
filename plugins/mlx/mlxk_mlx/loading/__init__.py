"""From model files to an engine: MLX start-up, weights, memory."""
