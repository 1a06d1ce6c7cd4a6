"""Names of repositories and branches, judged before anybody is asked."""

from __future__ import annotations

import re

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from mlxk_core.api.errors import InvalidOption

# What git refuses in the name of a branch (git-check-ref-format), and what a shell or a URL would make of it.
_NO_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[./-]|[./]$|^@?$")


def check_name(name: str, option: str) -> str:
    """`name` if the hub could have it as `org/name`; `option` is what the user calls it. Raises `InvalidOption`."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        valid = False
    else:
        valid = name.count("/") == 1
    if not valid:
        raise InvalidOption(
            option,
            f"`{name}` is no name the hub could have: `org/name`, of letters, digits, `-`, `_` and `.`, at most "
            "96 characters.",
        )
    return name


def check_branch(name: str, option: str) -> str:
    """`name` if git could have a branch of it. Raises `InvalidOption`."""
    if _NO_BRANCH.search(name):
        raise InvalidOption(option, f"`{name}` is no name a branch could have." if name else "the name is empty.")
    return name
