"""Names of repositories, judged before anybody is asked."""

from __future__ import annotations

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from mlxk_core.errors import InvalidOption


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
