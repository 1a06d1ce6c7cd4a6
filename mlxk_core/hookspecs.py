"""The six hooks. Each is called with the arguments named here; an implementation may take fewer of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    from mlxk_core.models.model import Model
    from mlxk_core.specs import (
        BackendSpec,
        CommandSpec,
        ModelSourceSpec,
        QuantizationDetectorSpec,
        ReasoningExtractorSpec,
        StopPolicy,
    )

hookspec = pluggy.HookspecMarker("mlxk")


class HookSpecs(Protocol):
    @hookspec
    def mlxk_commands(self) -> Iterable[CommandSpec]:
        """Commands of `mlxk`.

        @hookimpl
        def mlxk_commands():
            yield CommandSpec(name="hello", summary="Say hello.", target="mlxk_hello:hello")
        """

    @hookspec
    def mlxk_backends(self) -> Iterable[BackendSpec]:
        """Things that run models."""

    @hookspec
    def mlxk_model_sources(self) -> Iterable[ModelSourceSpec]:
        """Places beside the hub cache that models come from."""

    @hookspec
    def mlxk_stop_policies(self, model: Model) -> Iterable[StopPolicy]:
        """What ends an answer of `model`, beyond what its own files say."""

    @hookspec
    def mlxk_reasoning_extractors(self) -> Iterable[ReasoningExtractorSpec]:
        """Formats of reasoning and tool calls."""

    @hookspec
    def mlxk_quantization_detectors(self) -> Iterable[QuantizationDetectorSpec]:
        """Readers of how weights are stored."""
