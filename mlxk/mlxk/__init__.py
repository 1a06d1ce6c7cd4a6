"""The meta distribution: installs every feature of mlxk; the code is in mlxk_core and the plugins."""

__version__ = "0.1.0"
