"""The settings file: one TOML file, validated against typed sections."""
