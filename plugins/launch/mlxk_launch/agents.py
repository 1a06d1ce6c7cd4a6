"""The agents that can be launched, and what each needs to use a server of ours.

No agent's own configuration is written: everything goes into its environment, its arguments, or a file in a folder
that is deleted afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

PROVIDER = "mlxk"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server and the model to use. `url` has no path, `context` is in tokens, `key` may be a placeholder."""

    url: str
    model: str
    key: str = "mlxk"
    context: int | None = None

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What to start: arguments before the user's own, environment variables, and files of a temporary folder by name.

    `{folder}` in a variable's value stands for that folder.
    """

    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An agent: its executable, how to install it, and its setup for an endpoint."""

    name: str
    executable: str
    install: str
    setup: Callable[[Endpoint], Setup]


def _codex(to: Endpoint) -> Setup:
    provider = f'{{name="mlxk",base_url={json.dumps(to.openai_url)},wire_api="responses",env_key="MLXK_LAUNCH_KEY"}}'
    options = [f"model_provider={PROVIDER}", f"model_providers.{PROVIDER}={provider}", 'web_search="disabled"']
    options += [f"model_context_window={to.context}"] if to.context else []
    return Setup(
        arguments=(*(word for option in options for word in ("-c", option)), "-m", to.model),
        variables={"MLXK_LAUNCH_KEY": to.key},
    )


def _claude(to: Endpoint) -> Setup:
    # It takes an unknown model for one of a million tokens.
    context = {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(to.context)} if to.context else {}
    return Setup(
        arguments=("--model", to.model),
        variables={
            "ANTHROPIC_BASE_URL": to.url,
            "ANTHROPIC_AUTH_TOKEN": to.key,
            "ANTHROPIC_MODEL": to.model,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": to.model,
            "ANTHROPIC_SMALL_FAST_MODEL": to.model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **context,
        },
    )


def _opencode(to: Endpoint) -> Setup:
    limit = {"limit": {"context": to.context, "output": to.context // 2}} if to.context else {}
    config = {
        "model": f"{PROVIDER}/{to.model}",
        "provider": {
            PROVIDER: {
                "npm": "@ai-sdk/openai-compatible",
                "name": "mlxk",
                "options": {"baseURL": to.openai_url, "apiKey": to.key},
                "models": {to.model: {"name": to.model, **limit}},
            }
        },
    }
    return Setup(variables={"OPENCODE_CONFIG_CONTENT": json.dumps(config)})


def _aider(to: Endpoint) -> Setup:
    return Setup(
        arguments=("--model", f"openai/{to.model}", "--no-show-model-warnings"),
        variables={"OPENAI_API_BASE": to.openai_url, "OPENAI_API_KEY": to.key},
    )


def _goose(to: Endpoint) -> Setup:
    return Setup(
        variables={
            "GOOSE_PROVIDER": "openai",
            "GOOSE_MODEL": to.model,
            "OPENAI_HOST": to.url,
            "OPENAI_BASE_PATH": "v1/chat/completions",
            "OPENAI_API_KEY": to.key,
        }
    )


def _qwen(to: Endpoint) -> Setup:
    return Setup(
        arguments=("--auth-type", "openai", "--model", to.model),
        variables={"OPENAI_BASE_URL": to.openai_url, "OPENAI_API_KEY": to.key, "OPENAI_MODEL": to.model},
    )


def _crush(to: Endpoint) -> Setup:
    model = {"id": to.model, "name": to.model, "context_window": to.context or 32768, "default_max_tokens": 4096}
    provider = {"type": "openai-compat", "base_url": to.openai_url, "api_key": to.key, "models": [model]}
    chosen = {"model": to.model, "provider": PROVIDER}
    config = {"providers": {PROVIDER: provider}, "models": {"large": chosen, "small": chosen}}
    return Setup(variables={"CRUSH_GLOBAL_CONFIG": "{folder}"}, files={"crush.json": json.dumps(config)})


def _cline(to: Endpoint) -> Setup:
    name = "openai-compatible"
    settings = {"provider": name, "apiKey": to.key, "model": to.model, "baseUrl": to.openai_url}
    entry = {"settings": settings, "updatedAt": "2026-01-01T00:00:00.000Z", "tokenSource": "manual"}
    config = {"version": 1, "lastUsedProvider": name, "modes": {}, "providers": {name: entry}}
    return Setup(
        arguments=("-P", name, "-m", to.model),
        variables={"CLINE_PROVIDER_SETTINGS_PATH": "{folder}/providers.json"},
        files={"providers.json": json.dumps(config)},
    )


AGENTS: Mapping[str, Agent] = {
    agent.name: agent
    for agent in (
        Agent(name="aider", executable="aider", install="uv tool install aider-chat", setup=_aider),
        Agent(name="claude", executable="claude", install="npm install -g @anthropic-ai/claude-code", setup=_claude),
        Agent(name="cline", executable="cline", install="npm install -g cline", setup=_cline),
        Agent(name="codex", executable="codex", install="npm install -g @openai/codex", setup=_codex),
        Agent(name="crush", executable="crush", install="npm install -g @charmland/crush", setup=_crush),
        Agent(name="goose", executable="goose", install="see https://block.github.io/goose", setup=_goose),
        Agent(name="opencode", executable="opencode", install="npm install -g opencode-ai", setup=_opencode),
        Agent(name="qwen", executable="qwen", install="npm install -g @qwen-code/qwen-code", setup=_qwen),
    )
}
