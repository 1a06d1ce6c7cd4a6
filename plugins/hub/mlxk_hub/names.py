"""Validation of repository and branch names, without a network request."""

from __future__ import annotations

import re

from mlxk_core.api.errors import InvalidOption

# Forbidden in a branch name by git-check-ref-format, or changed by a shell or a URL.
_NOT_IN_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[./-]|[./]$|^@?$")


def check_name(name: str, option: str) -> str:
    """Return `name` if the hub allows it as `org/name`. Raises `InvalidOption`, which names `option`."""
    # Imported here: it reads the settings, which must be checked first.
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        valid = False
    else:
        valid = name.count("/") == 1
    if not valid:
        raise InvalidOption(
            option,
            f"`{name}` is not a valid repository name. Expected `org/name`: letters, digits, `-`, `_` and `.`, at most "
            "96 characters.",
        )
    return name


def check_branch(name: str, option: str) -> str:
    """Return `name` if git allows a branch of that name. Raises `InvalidOption`, which names `option`."""
    if _NOT_IN_BRANCH.search(name):
        raise InvalidOption(option, f"`{name}` is not a valid branch name." if name else "the name is empty.")
    return name
