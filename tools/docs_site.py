"""mkdocs hooks: the navigation, and the pages that are generated from the code.

- `reference/commands.md` from the click commands of every installed plugin;
- `reference/api/NAME.md` from the docstrings of each public module of core and of the test kit.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files

from mlxk_core.api.host import Host

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = {
    "Tutorials": "tutorials/",
    "How-to": "how-to/",
    "Clients": "how-to/clients/",
    "Plugins": "plugins/",
    "Plugin tutorials": "plugins/tutorials/",
    "Reference": "reference/",
    "Python API": "reference/api/",
    "Explanation": "explanation/",
    "Decisions": "explanation/adr/",
}
FIRST = [
    "index.md",
    "first-steps.md",
    "install.md",
    "hooks.md",
    "command.md",
    "commands.md",
    "server.md",
    "architecture.md",
    "README.md",
]


def on_files(files: Files, config: Any) -> Files:
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    for package in (ROOT / "mlxk_core" / "api", ROOT / "testing" / "mlxk_testing"):
        for name in public_modules(package):
            page = f"# `{name}`\n\n::: {name}\n"
            files.append(File.generated(config, f"reference/api/{name}.md", content=page))
    config.nav = [{"Home": "index.md"}, *({title: pages} for title, pages in sections(files))]
    return files


def sections(files: Files) -> Iterator[tuple[str, list[str]]]:
    """Yield the title and the pages of each section that has any; every page is in the section of its folder."""
    paths = [file.src_uri for file in files.documentation_pages()]
    for title, folder in SECTIONS.items():
        own = [path for path in paths if path.rpartition("/")[0] + "/" == folder and path != "index.md"]
        if own:
            yield title, sorted(own, key=_order)


def _order(path: str) -> tuple[int, str]:
    name = path.rpartition("/")[2]
    return (FIRST.index(name) if name in FIRST else len(FIRST), path)


def public_modules(package: Path) -> list[str]:
    dotted = ".".join(package.relative_to(package.parents[1] if package.name == "api" else package.parent).parts)
    names = sorted(path.stem for path in package.glob("*.py") if not path.stem.startswith("_"))
    return [f"{dotted}.{name}" for name in names]


def commands_page() -> str:
    """Return the reference of all commands: usage, help and options, as `mlxk COMMAND --help` shows them."""
    host = Host.discover(strict=True)
    parts = [
        "# Commands",
        "Generated from the commands themselves. Every one has `--help`, and `--json` where it is listed.",
    ]
    for spec in sorted(host.commands(), key=lambda spec: spec.name):
        command = host.load(spec.target)
        parts += list(_command(command, f"mlxk {spec.name}", level=2, aliases=spec.aliases))
    return "\n\n".join(parts) + "\n"


def _command(command: click.Command, path: str, *, level: int, aliases: tuple[str, ...] = ()) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    yield f"{'#' * level} {path}"
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```"
    if aliases:
        yield f"Also: {', '.join(f'`mlxk {alias}`' for alias in aliases)}."
    yield _escaped(cleandoc(command.help or "").replace("\b\n", ""))
    rows = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    if rows:
        lines = [f"| `{names.replace('|', '∣')}` | {_escaped(text).replace('|', '∣')} |" for names, text in rows]
        yield "\n".join(["| option | |", "|---|---|", *lines])
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from _command(child, f"{path} {name}", level=level + 1)


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    print(commands_page())
