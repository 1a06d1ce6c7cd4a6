"""Command config: the settings file of mlxk."""
