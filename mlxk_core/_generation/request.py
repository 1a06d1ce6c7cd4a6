"""Generation requests: messages, tools and sampling values, as the user gave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mlxk_core._generation.constraint import Constraint
from mlxk_core._models.token_budget import TokenPolicy

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

    With `strict`, the arguments of its calls always match the schema. `option` is the path of the schema in the
    client's request, for errors (`tools[0].input_schema`).
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False
    option: str = ""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn. The defaults change nothing."""

    temperature: float = 1.0
    """0 always takes the most likely token."""
    top_p: float = 1.0
    """Draw from the smallest set of tokens with this probability (1: off)."""
    top_k: int = 0
    """Draw from this many of the most likely tokens (0: off)."""
    min_p: float = 0.0
    """Ignore tokens below this fraction of the top probability (0: off)."""
    repetition_penalty: float = 1.0
    """Above 1 discourages tokens that were used (1: off); at least 0.001."""
    presence_penalty: float = 0.0
    """Above 0 discourages tokens that were used (0: off)."""
    frequency_penalty: float = 0.0
    """Above 0 discourages tokens that were used, each time more (0: off)."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """What is added to the logits, by token id."""
    seed: int | None = None
    """Makes the draws of this request reproducible, alone and in a batch."""
    logprobs: int | None = None
    """How many alternatives to return with the log probability of each token (None: do not compute any)."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """Everything one response depends on."""

    model: Model
    prompt: Sequence[Message] | str | Sequence[int]
    """A conversation (the chat template is applied), a text (taken as it is), or token ids: a list, or many of them in
    an `array` of type `q`."""
    suffix: str | None = None
    """The text after the response, which then belongs between a `prompt` that is a text and this."""
    template_options: Mapping[str, Any] = field(default_factory=dict)
    """Variables that are passed to the chat template unchanged."""
    keep_to_template: bool = False
    """Whether a conversation that the chat template rejects is an error, instead of being written as plain turns."""
    drop_oldest_turns: bool = False
    """Whether the oldest turns of a conversation that does not fit into the context are dropped, as few as possible.
    System messages and the last turn stay; a turn is a user message and all that follows it."""

    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    """The most tokens to generate (None: the budget of `token_policy`). 0 reads the prompt and generates nothing."""
    token_policy: TokenPolicy = TokenPolicy.FULL_CONTEXT
    min_tokens: int = 0
    """The number of tokens before which no stop token is drawn."""
    stop: tuple[str, ...] = ()
    """Texts that end the response and are not part of it."""
    stop_tokens: tuple[int, ...] = ()
    """Token ids that end the response, in addition to the model's own."""
    ignore_eos: bool = False
    """Whether the model's own stop tokens do not end the response."""
    chat_stops: bool = True
    """Whether the stop strings of the chat policy end the response to a conversation."""

    tools: tuple[Tool, ...] = ()
    parallel_calls: bool = True
    """Whether the response may have more than one tool call."""
    must_call: bool = False
    """Whether the response is tool calls and nothing else."""
    tool_names: tuple[str, ...] = ()
    """The tools that may be called (empty: all)."""
    generic_tools: bool = True
    """Whether tools that the chat template does not support are put into the system message."""
    constraint: Constraint | None = None
    """What the answer must match. Reasoning is not constrained."""

    reasoning_format: str | None = None
    """The name of a format, `none` for the raw text, None to let mlxk choose."""
    thinking_budget: int | None = None
    """The number of reasoning tokens after which the model's own end marker is forced (None: no limit)."""
    budget_is_default: bool = False
    """Whether a `thinking_budget` that cannot be enforced is ignored."""

    backend: str | None = None
    """The name of a backend, None to let mlxk choose."""
    client: str = ""
    """Who asks: a place in the batch goes to the client with the fewest running requests."""
    ttl: float | None = None
    """Idle seconds that the model stays loaded afterwards (negative: without limit; None: the service's default)."""
    report_usage: bool = False
    """Whether a `UsageUpdate` comes before the events of each token."""
    prompt_logprobs: int | None = None
    """How many alternatives to return with the log probability of each prompt token (None: do not compute any)."""
    echo: bool = False
    """Whether `Started` has the text of the prompt. Token ids may become any text; it has a limit then."""

    @property
    def is_chat(self) -> bool:
        """Whether the prompt is a conversation: its first part says so, and token ids may be millions."""
        return isinstance(self.prompt, (list, tuple)) and isinstance(next(iter(self.prompt), None), Message)

    @property
    def messages(self) -> list[Message]:
        """The messages of a conversation; none if the prompt is a text or token ids."""
        return [part for part in self.prompt if isinstance(part, Message)] if self.is_chat else []

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that the answer may call."""
        return tuple(tool for tool in self.tools if not self.tool_names or tool.name in self.tool_names)
