"""Isolation of plugin code: what it raises, prints and returns wrongly becomes a failure of its plugin."""
