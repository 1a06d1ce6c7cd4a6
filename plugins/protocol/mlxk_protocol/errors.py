"""Errors that every API reports in the same words."""

from __future__ import annotations

from mlxk_core.api.errors import InvalidOption, Kind


class Unsupported(InvalidOption):
    """A field, or a value of it, that the API has and mlxk does not implement."""

    kind = Kind("unsupported_parameter", 2, 400)


def unsupported_tool(path: str, kind: str | None) -> Unsupported:
    """Return the error for the tool at `path`, which would have to run on the server."""
    return Unsupported(f"{path}.type", f"tools of type `{kind}` are not supported; use function tools")


def unsupported_content(path: str, kind: str) -> Unsupported:
    """Return the error for content at `path` that is not text, such as an image."""
    return Unsupported(path, f"`{kind}` is not supported; only text is")


def unknown_tool(path: str, name: str) -> InvalidOption:
    """Return the error for a choice at `path` of a tool that the request does not have."""
    return InvalidOption(path, f"the request has no tool `{name}`")


def call_without_tools() -> InvalidOption:
    """Return the error for a required call in a request without tools."""
    return InvalidOption("tool_choice", "a call is required but the request has no tools")
