"""The plugin's descriptions."""

from __future__ import annotations

from collections.abc import Iterator

from mlxk_core.api import AgentSpec, CommandSpec, hookimpl

_AGENTS = (
    ("aider", "Pair programming in the terminal.", "uv tool install aider-chat"),
    ("claude", "Claude Code.", "npm install -g @anthropic-ai/claude-code"),
    ("cline", "Cline for the terminal.", "npm install -g cline"),
    ("codex", "OpenAI's Codex CLI.", "npm install -g @openai/codex"),
    ("crush", "Charm's Crush.", "npm install -g @charmland/crush"),
    ("goose", "Block's Goose.", "see https://block.github.io/goose"),
    ("opencode", "The opencode agent.", "npm install -g opencode-ai"),
    ("qwen", "Qwen Code.", "npm install -g @qwen-code/qwen-code"),
)


@hookimpl
def mlxk_commands() -> Iterator[CommandSpec]:
    yield CommandSpec(
        name="launch",
        summary="Start a coding agent on a local model.",
        target="mlxk_launch.launch:launch",
        section="Run models",
    )


@hookimpl
def mlxk_agents() -> Iterator[AgentSpec]:
    for name, summary, install in _AGENTS:
        yield AgentSpec(
            name=name, summary=summary, executable=name, install=install, target=f"mlxk_launch.agents:{name}"
        )
