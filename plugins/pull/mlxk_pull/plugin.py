"""What the pull plugin brings."""
