"""What the reasoning plugin brings."""
