"""Generation requests: messages, tools and sampling values, as the user gave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mlxk_core._generation.constraint import Constraint
from mlxk_core._models.budget import TokenPolicy

if TYPE_CHECKING:
    from mlxk_core._models.model import Model

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call the assistant made; `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    reasoning: str | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A function the model may call; `parameters` is its JSON schema.

    With `strict`, the arguments of its calls always match the schema.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn. The defaults change nothing: greedy needs `temperature=0`.

    `top_k=0`, `min_p=0`, `top_p=1`, `repetition_penalty=1` and penalties of 0 are off. `seed` makes the draws of this
    request reproducible, alone and in a batch. `logit_bias` maps token ids to what is added to their logits. `logprobs`
    asks for the log probability of each token and of that many alternatives (None: do not compute).
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    logprobs: int | None = None


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """Everything one answer depends on.

    `prompt` is a conversation (the chat template is applied), a text (taken as it is) or token ids.
    `max_tokens` None means the budget of `token_policy`. `stop` are texts that end the answer and are not part of
    it; `stop_tokens` are token ids that do so as well. With `ignore_eos` the model's own stop tokens do not end it, and
    before `min_tokens` tokens no stop token is drawn.
    `chat_stops` adds the chat policy's stop strings, for conversations only. `reasoning_format` and `backend`
    name a plugin's contribution (`"none"` turns extraction off); None lets mlxk choose. `template_options` are passed
    to the chat template unchanged. Without `parallel_calls` the answer has one tool call at most.

    `constraint` is what the answer must match; reasoning is not constrained. With `must_call` the answer is tool calls
    and nothing else; `tool_names` narrows which tools they may call (empty: all of them). `thinking_budget` is the
    number of reasoning tokens after which the model's own end marker is forced (None: no limit); with
    `budget_is_default` it is ignored where it cannot be enforced.

    Unless `generic_tools` is false, tools that the chat template does not support are put
    into the system message. `keep_to_template` makes a conversation that the chat template rejects an error, instead of
    writing it as plain turns.

    `client` identifies the caller: a free place goes to the client with the fewest running
    requests. `ttl` is how many idle seconds the model stays loaded afterwards (negative: without limit; None: the
    service's default).

    With `report_usage` a `UsageUpdate` comes before the events of each token. `prompt_logprobs`
    asks for the log probability of each prompt token and of that many alternatives (None: not computed). `max_tokens` 0
    reads the prompt and generates nothing. With `suffix`, the answer is what belongs between the texts `prompt` and
    `suffix`.
    """

    model: Model
    prompt: Sequence[Message] | str | Sequence[int]
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    token_policy: TokenPolicy = TokenPolicy.FULL_CONTEXT
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0
    chat_stops: bool = True
    tools: tuple[Tool, ...] = ()
    parallel_calls: bool = True
    constraint: Constraint | None = None
    must_call: bool = False
    tool_names: tuple[str, ...] = ()
    thinking_budget: int | None = None
    budget_is_default: bool = False
    generic_tools: bool = True
    reasoning_format: str | None = None
    backend: str | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    keep_to_template: bool = False
    client: str = ""
    ttl: float | None = None
    report_usage: bool = False
    prompt_logprobs: int | None = None
    suffix: str | None = None

    @property
    def is_chat(self) -> bool:
        """Whether the prompt is a conversation."""
        return isinstance(self.prompt, (list, tuple)) and any(isinstance(part, Message) for part in self.prompt)

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that the answer may call."""
        return tuple(tool for tool in self.tools if not self.tool_names or tool.name in self.tool_names)
