"""Model source: SmolLM2-135M-Instruct out of a wheel, the offline default."""
