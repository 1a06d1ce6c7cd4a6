#!/bin/sh
exec /usr/lib/mlxk/bin/python3 -P -m mlxk "$@"
