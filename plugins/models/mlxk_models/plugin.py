"""What the models plugin brings."""
