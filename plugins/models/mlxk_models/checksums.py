"""The files of a model against the hub's checksums: the one check that reads every byte, and that asks the hub."""

from __future__ import annotations

from mlxk_core.api import Model
from mlxk_core.errors import AccessDenied, HubUnavailable
from mlxk_core.models.cache import hub_cache


def mismatches(model: Model) -> list[str]:
    """The files of a hub model whose content is not the hub's. Files that were never wanted here do not count."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        result = HfApi().verify_repo_checksums(model.name, revision=model.revision, cache_dir=hub_cache())
    except RepositoryNotFoundError as error:  # a gated repository's error is one of these
        raise AccessDenied(
            f"The hub does not show the files of `{model.name}`, so they cannot be verified: {_first_line(error)}",
            model=model.name,
        ) from error
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        raise HubUnavailable(
            f"`{model.name}` cannot be verified, the hub gave no list of its files: {_first_line(error)}",
            model=model.name,
        ) from error
    return [each["path"] for each in result.mismatches]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
