"""The command line: argv, sessions, output, and the built-in commands."""
