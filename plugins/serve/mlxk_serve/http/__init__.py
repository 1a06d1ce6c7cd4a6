"""HTTP on waitress: sockets, access control, errors, responses."""
