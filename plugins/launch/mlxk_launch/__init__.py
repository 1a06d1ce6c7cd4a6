"""Command launch: coding agents on a local mlxk server."""
