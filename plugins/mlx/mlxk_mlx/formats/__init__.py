"""Tool calls and responses in the formats that mlx-lm and transformers parse."""
