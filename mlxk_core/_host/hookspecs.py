"""The hooks, each with a complete plugin as its example.

A hook is called with the arguments named here; an implementation may take fewer of them. It returns (or yields)
descriptions and must be light: a description names its implementation by a target, which is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    from mlxk_core._host.specs import (
        AgentSpec,
        BackendSpec,
        CommandSpec,
        ConstraintSpec,
        LifecycleListener,
        ModelSourceSpec,
        QuantizationDetectorSpec,
        ReasoningExtractorSpec,
        ServerExtensionSpec,
        SettingsSection,
        StopPolicy,
    )
    from mlxk_core._models.model import Model

hookspec = pluggy.HookspecMarker("mlxk")


class HookSpecs(Protocol):
    @hookspec
    def mlxk_commands(self) -> Iterable[CommandSpec]:
        """Commands of `mlxk`.

        ```python
        import click
        from mlxk_core.api import CommandSpec, hookimpl

        @hookimpl
        def mlxk_commands():
            yield CommandSpec(name="hello", summary="Say hello.", target="mlxk_hello:hello")

        @click.command("hello")
        @click.pass_obj
        def hello(session):
            '''Say hello.'''
            session.output.line("Hello, world!")
        ```
        """

    @hookspec
    def mlxk_backends(self) -> Iterable[BackendSpec]:
        """Backends, which run models.

        ```python
        from mlxk_core.api import BackendSpec, Verdict, hookimpl

        @hookimpl
        def mlxk_backends():
            yield BackendSpec(
                name="rwkv",
                summary="RWKV models.",
                accepts=accepts,
                target="mlxk_rwkv.engine:load",
            )

        def accepts(model):
            if not str(model.config.get("model_type", "")).startswith("rwkv"):
                return Verdict.foreign("not an RWKV model.")
            if model.config.get("head_size") != 64:
                return Verdict.no("only heads of size 64 are supported.")
            return Verdict.yes()
        ```
        """

    @hookspec
    def mlxk_model_sources(self) -> Iterable[ModelSourceSpec]:
        """Sources of models in addition to the hub cache.

        ```python
        from pathlib import Path
        from mlxk_core.api import Model, ModelSourceSpec, hookimpl

        @hookimpl
        def mlxk_model_sources():
            yield ModelSourceSpec(name="shelf", summary="The models in /srv/models.", target="mlxk_shelf:Shelf")

        class Shelf:
            folder = Path("/srv/models")

            def names(self):
                return [path.name for path in self.folder.glob("*") if path.is_dir()]

            def find(self, name):
                path = self.folder / name
                return Model(name=name, path=path, origin="source", source="shelf") if name in self.names() else None
        ```
        """

    @hookspec
    def mlxk_stop_policies(self, model: Model) -> Iterable[StopPolicy]:
        """Stop rules for `model`, in addition to those in its own files.

        ```python
        from mlxk_core.api import StopPolicy, hookimpl

        @hookimpl
        def mlxk_stop_policies(model):
            if model.config.get("model_type") == "chatty":
                yield StopPolicy(stop_tokens=frozenset({"<|eom|>"}), stop_strings=("\\nNarrator:",))
        ```
        """

    @hookspec
    def mlxk_reasoning_extractors(self) -> Iterable[ReasoningExtractorSpec]:
        """Formats of reasoning and tool calls.

        ```python
        from mlxk_core.api import Channel, Delta, Evidence, ReasoningExtractorSpec, Strength, hookimpl

        @hookimpl
        def mlxk_reasoning_extractors():
            yield ReasoningExtractorSpec(
                name="all-thought",
                summary="A model that only ever thinks.",
                matches=matches,
                target="mlxk_thought:Extractor",
            )

        def matches(model):
            if "<only-thoughts>" in (model.chat_template or ""):
                return Evidence(Strength.TEMPLATE, "the chat template writes <only-thoughts>")

        class Extractor:
            channel = Channel.REASONING

            def __init__(self, context):
                pass

            def feed(self, text):
                return [Delta(Channel.REASONING, text)] if text else []

            def close(self):
                return []
        ```
        """

    @hookspec
    def mlxk_quantization_detectors(self) -> Iterable[QuantizationDetectorSpec]:
        """Detectors of how weights are stored.

        ```python
        from mlxk_core.api import Quantization, QuantizationDetectorSpec, hookimpl

        @hookimpl
        def mlxk_quantization_detectors():
            yield QuantizationDetectorSpec(name="ternary", detect=detect)

        def detect(model):
            if model.config.get("quantization_config", {}).get("quant_method") == "ternary":
                yield Quantization(format="safetensors", label="ternary", method="ternary", bits=1.58)
        ```
        """

    @hookspec
    def mlxk_constraints(self) -> Iterable[ConstraintSpec]:
        """Compilers of constraints on answers.

        ```python
        from mlxk_core.api import ConstraintSpec, hookimpl
        from mlxk_core.api.errors import InvalidConstraint
        from mlxk_core.api.generation import Matches

        @hookimpl
        def mlxk_constraints():
            yield ConstraintSpec(kind="token", target=OneToken)

        class OneToken:
            '''An answer of one token: the value is its text.'''

            def check(self, grammar):
                if not isinstance(grammar, Matches) or not isinstance(grammar.value, str):
                    raise InvalidConstraint("token", "it must be a text")

            def compile(self, grammar, vocabulary):
                token = vocabulary.tokenizer.token_id(grammar.value)
                if token is None:
                    raise InvalidConstraint("token", f"{grammar.value!r} is not one token of this model")
                return Only(token)

        class Only:
            complete = False

            def __init__(self, token):
                self.token = token

            def mask(self):
                return bytes(self.token // 8) + bytes([1 << self.token % 8])

            def accept(self, token):
                self.complete = True
        ```
        """

    @hookspec
    def mlxk_server_extensions(self) -> Iterable[ServerExtensionSpec]:
        """Routes and middleware for `mlxk serve`.

        ```python
        from mlxk_core.api import ServerExtensionSpec, hookimpl

        @hookimpl
        def mlxk_server_extensions():
            yield ServerExtensionSpec(name="ping", summary="GET /ping.", target="mlxk_ping:extend")

        def extend(server):
            server.add_route("/ping", Ping(server.metrics.counter("ping_total", "Pings answered.")))

        class Ping:
            def __init__(self, pings):
                self.pings = pings

            def on_get(self, req, resp):
                self.pings.add()
                resp.media = {"pong": True}
        ```
        """

    @hookspec
    def mlxk_lifecycle(self) -> Iterable[LifecycleListener]:
        """Listeners for loads, unloads and requests.

        ```python
        from mlxk_core.api import LifecycleListener, hookimpl

        @hookimpl
        def mlxk_lifecycle():
            yield LifecycleListener(name="billing", on_finish=add_to_bill)

        BILL = {}

        def add_to_bill(event):
            name = event.request.model.name
            BILL[name] = BILL.get(name, 0) + event.usage.total_tokens
        ```
        """

    @hookspec
    def mlxk_agents(self) -> Iterable[AgentSpec]:
        """Programs that `mlxk launch` starts on a local model.

        ```python
        from mlxk_core.api import AgentSetup, AgentSpec, hookimpl

        @hookimpl
        def mlxk_agents():
            yield AgentSpec(
                name="pal",
                summary="A coding agent.",
                executable="pal",
                install="npm install -g pal-agent",
                target="mlxk_pal:setup",
            )

        def setup(endpoint):
            return AgentSetup(
                arguments=("--model", endpoint.model),
                variables={"OPENAI_BASE_URL": endpoint.openai_url, "OPENAI_API_KEY": endpoint.key},
            )
        ```
        """

    @hookspec
    def mlxk_settings(self) -> Iterable[SettingsSection]:
        """Sections of the settings file.

        ```python
        from dataclasses import dataclass

        from mlxk_core.api import SettingsSection, hookimpl, setting

        @hookimpl
        def mlxk_settings():
            yield SettingsSection(name="greeting", summary="How people are greeted.", type=Greeting)

        @dataclass(frozen=True, kw_only=True)
        class Greeting:
            word: str = setting("The first word.", default="Hello")
            repeat: int = setting("How often it is said.", default=1, least=1, most=3)
        ```
        """
