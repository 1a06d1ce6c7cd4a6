"""The command doctor: checks of this machine and this installation, each with a fix."""
