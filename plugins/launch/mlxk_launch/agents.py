"""The setups of agents: what each needs to use a server of ours.

No agent's own configuration is written: everything goes into its environment, its arguments, or a file in a folder
that is deleted afterwards.
"""

from __future__ import annotations

import json

from mlxk_core.api.hooks import AgentEndpoint, AgentSetup

PROVIDER = "mlxk"


def codex(to: AgentEndpoint) -> AgentSetup:
    """Return the setup of codex."""
    provider = f'{{name="mlxk",base_url={json.dumps(to.openai_url)},wire_api="responses",env_key="MLXK_LAUNCH_KEY"}}'
    options = [f"model_provider={PROVIDER}", f"model_providers.{PROVIDER}={provider}", 'web_search="disabled"']
    options += [f"model_context_window={to.context}"] if to.context else []
    return AgentSetup(
        arguments=(*(word for option in options for word in ("-c", option)), "-m", to.model),
        variables={"MLXK_LAUNCH_KEY": to.key},
    )


def claude(to: AgentEndpoint) -> AgentSetup:
    """Return the setup of claude."""
    # It takes an unknown model for one of a million tokens.
    context = {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(to.context)} if to.context else {}
    return AgentSetup(
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


def opencode(to: AgentEndpoint) -> AgentSetup:
    """Return the setup of opencode."""
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
    return AgentSetup(variables={"OPENCODE_CONFIG_CONTENT": json.dumps(config)})


def aider(to: AgentEndpoint) -> AgentSetup:
    """Return the setup of aider."""
    return AgentSetup(
        arguments=("--model", f"openai/{to.model}", "--no-show-model-warnings"),
        variables={"OPENAI_API_BASE": to.openai_url, "OPENAI_API_KEY": to.key},
    )


def goose(to: AgentEndpoint) -> AgentSetup:
    """Return the setup of goose."""
    # It takes an unknown model for one of 128,000 tokens, and asks `gpt-4o-mini` for the names of sessions.
    context = {"GOOSE_CONTEXT_LIMIT": str(to.context)} if to.context else {}
    return AgentSetup(
        variables={
            "GOOSE_PROVIDER": "openai",
            "GOOSE_MODEL": to.model,
            "GOOSE_FAST_MODEL": to.model,
            "OPENAI_HOST": to.url,
            "OPENAI_BASE_PATH": "v1/chat/completions",
            "OPENAI_API_KEY": to.key,
            **context,
        }
    )


def qwen(to: AgentEndpoint) -> AgentSetup:
    """Return the setup of qwen."""
    return AgentSetup(
        arguments=("--auth-type", "openai", "--model", to.model),
        variables={"OPENAI_BASE_URL": to.openai_url, "OPENAI_API_KEY": to.key, "OPENAI_MODEL": to.model},
    )


def crush(to: AgentEndpoint) -> AgentSetup:
    """Return the setup of crush."""
    context = to.context or 32768
    model = {"id": to.model, "name": to.model, "context_window": context, "default_max_tokens": context // 2}
    # Its values are shell texts: a key with `$` in it would be another one.
    provider = {"type": "openai-compat", "base_url": to.openai_url, "api_key": "$MLXK_LAUNCH_KEY", "models": [model]}
    chosen = {"model": to.model, "provider": PROVIDER}
    config = {"providers": {PROVIDER: provider}, "models": {"large": chosen, "small": chosen}}
    return AgentSetup(
        variables={
            "MLXK_LAUNCH_KEY": to.key,
            "CRUSH_GLOBAL_CONFIG": "{folder}",
            # The user's has the model that was chosen last, which would take precedence and be overwritten.
            "CRUSH_GLOBAL_DATA": "{folder}/data",
        },
        files={"crush.json": json.dumps(config)},
    )


def cline(to: AgentEndpoint) -> AgentSetup:
    """Return the setup of cline."""
    name = "openai-compatible"
    settings = {"provider": name, "apiKey": to.key, "model": to.model, "baseUrl": to.openai_url}
    entry = {"settings": settings, "updatedAt": "2026-01-01T00:00:00.000Z", "tokenSource": "manual"}
    config = {"version": 1, "lastUsedProvider": name, "modes": {}, "providers": {name: entry}}
    return AgentSetup(
        arguments=("-P", name, "-m", to.model),
        variables={"CLINE_PROVIDER_SETTINGS_PATH": "{folder}/providers.json"},
        files={"providers.json": json.dumps(config)},
    )
