"""Command push (experimental): uploads a model folder."""
