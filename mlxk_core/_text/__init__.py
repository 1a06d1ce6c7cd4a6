"""Text helpers that several plugins share: streamed text, control characters, and numbers in words."""
