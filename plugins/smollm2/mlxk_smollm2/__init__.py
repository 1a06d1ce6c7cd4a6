"""Model source with SmolLM2-135M-Instruct from a wheel, the offline default."""
