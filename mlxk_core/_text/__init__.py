"""Text in pieces and numbers in words: what several plugins would otherwise write again."""
