"""Command run: one answer, or a chat, at a terminal."""
