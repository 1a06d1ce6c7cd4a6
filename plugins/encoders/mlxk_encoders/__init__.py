"""Backend: encoders of the BERT kind on MLX."""
