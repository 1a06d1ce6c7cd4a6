"""What the run plugin brings."""
