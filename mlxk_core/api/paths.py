"""For paths that a user typed or set in the environment."""

from __future__ import annotations

from mlxk_core._file_locks import lock_exclusively
from mlxk_core._paths import (
    NoHomeFolder,
    expand_user,
    home_folder,
    is_file,
    is_folder,
    path_exists,
    read_typed_file,
    replace_file,
    user_folder,
)

__all__ = [
    "NoHomeFolder",
    "expand_user",
    "home_folder",
    "is_file",
    "is_folder",
    "lock_exclusively",
    "path_exists",
    "read_typed_file",
    "replace_file",
    "user_folder",
]
