"""What the smollm2 plugin brings."""
