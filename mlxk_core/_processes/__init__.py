"""Child processes that do what may take any time or memory."""
