"""Text helpers that several plugins share: streamed text, and numbers in words."""
