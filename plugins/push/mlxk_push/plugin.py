"""What the push plugin brings."""
