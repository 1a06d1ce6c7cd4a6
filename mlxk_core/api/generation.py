"""Requests, the generation service and the events of a generation."""

from __future__ import annotations

from mlxk_core._generation.completion import Completion, join_events, join_runs
from mlxk_core._generation.constraint import (
    Constraint,
    ConstraintCompiler,
    SlowConstraintCompiler,
    TokenConstraint,
    Vocabulary,
)
from mlxk_core._generation.events import (
    Channel,
    Delta,
    Event,
    ExtractorEvent,
    Finished,
    FinishReason,
    Loading,
    Progress,
    PromptLogprobs,
    PromptToken,
    Started,
    Timings,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)
from mlxk_core._generation.generation import Generation
from mlxk_core._generation.grammar import (
    AnyText,
    Literal,
    Matches,
    OneOf,
    Part,
    RawString,
    Repeat,
    Sequence,
    UpTo,
    leaves,
    optional,
    sequence,
)
from mlxk_core._generation.machine_memory import machine_memory
from mlxk_core._generation.packed_tokens import PackedTokens
from mlxk_core._generation.reasoning_options import effort_options, thinking_options
from mlxk_core._generation.request import GenerationRequest, Message, Sampling, Tool, ToolCall
from mlxk_core._generation.request_sizes import check_schema_text, check_template_options, prompt_size
from mlxk_core._generation.sampling import SAMPLING_LIMITS, TERMINAL_SAMPLING, model_sampling
from mlxk_core._generation.service import GenerationService
from mlxk_core._generation.service_status import ResidentModel, ServiceStatus
from mlxk_core._generation.stop_tokens import CHAT_STOP_STRINGS, turn_terminator
from mlxk_core._generation.task_queue import Work
from mlxk_core._models.token_budget import TokenPolicy

__all__ = [
    "CHAT_STOP_STRINGS",
    "SAMPLING_LIMITS",
    "TERMINAL_SAMPLING",
    "AnyText",
    "Channel",
    "Completion",
    "Constraint",
    "ConstraintCompiler",
    "Delta",
    "Event",
    "ExtractorEvent",
    "FinishReason",
    "Finished",
    "Generation",
    "GenerationRequest",
    "GenerationService",
    "Literal",
    "Loading",
    "Matches",
    "Message",
    "OneOf",
    "PackedTokens",
    "Part",
    "Progress",
    "PromptLogprobs",
    "PromptToken",
    "RawString",
    "Repeat",
    "ResidentModel",
    "Sampling",
    "Sequence",
    "ServiceStatus",
    "SlowConstraintCompiler",
    "Started",
    "Timings",
    "TokenConstraint",
    "TokenLogprob",
    "TokenPolicy",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "UpTo",
    "Usage",
    "UsageUpdate",
    "Vocabulary",
    "Work",
    "check_schema_text",
    "check_template_options",
    "effort_options",
    "join_events",
    "join_runs",
    "leaves",
    "machine_memory",
    "model_sampling",
    "optional",
    "prompt_size",
    "sequence",
    "thinking_options",
    "turn_terminator",
]
