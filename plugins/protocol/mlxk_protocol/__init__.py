"""Shared pieces of the HTTP protocols: request decoding, sampling defaults, conversations, tools."""
