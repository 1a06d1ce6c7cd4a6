"""What the serve plugin brings."""
