"""Descriptions of what plugins contribute: frozen dataclasses that name their implementation by a target.

Names are what a user types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from mlxk_core._models.model import Model
    from mlxk_core._models.variants import Variant
    from mlxk_core.api.lifecycle import ModelLoaded, ModelUnloaded, RequestAccepted, RequestFinished

Target = str | Callable[..., Any]
"""An implementation: `"package.module:attribute"`, imported when it is used, or the callable itself."""
NO_FORMAT = "none"
"""The name that stands for no reasoning format where one can be chosen."""
TARGET_FIELDS = ("target", "estimate", "renderer", "grammar", "type")
"""The fields of descriptions that are targets."""


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """A command. `target` is a `click.Command` (`"mlxk_run.run:run"`); `summary` is its one line in `mlxk --help`.

    `section` is the heading above that line: `Run models`, `Manage models`, `Server`, `Setup`, or one of your own
    (empty: `Other commands`).

    `requires` is called before the command is shown or run, and returns why it is off (an experiment that was not
    turned on), or None. A command that is off is not listed, and gives the reason when it is typed.
    """

    name: str
    summary: str
    target: Target
    aliases: tuple[str, ...] = ()
    requires: Callable[[], str | None] | None = None
    section: str = ""


@dataclass(frozen=True)
class Verdict:
    """A backend's answer about a model. Use `yes()`, `no(reason)` for a model of its kind that it cannot run, and
    `foreign(reason)` for a model of another kind."""

    answer: Literal["yes", "no", "foreign"]
    reason: str = ""

    @property
    def accepted(self) -> bool:
        return self.answer == "yes"

    @classmethod
    def yes(cls) -> Verdict:
        return cls("yes")

    @classmethod
    def no(cls, reason: str) -> Verdict:
        return cls("no", reason)

    @classmethod
    def foreign(cls, reason: str) -> Verdict:
        return cls("foreign", reason)


SAMPLING_OPTIONS = frozenset(
    {
        "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
        "logit_bias", "seed", "logprobs",
    }
)  # fmt: skip
"""The fields of `Sampling`."""


@dataclass(frozen=True, kw_only=True)
class BackendSpec:
    """A backend, which runs models. `accepts` judges a model by its files and is light (no MLX import).

    `target` is `(Model, EngineContext) -> Engine`, called on the engine thread; it raises `BrokenModel` or
    `UnsupportedModel`. `estimate` names `(Model) -> int`: the bytes the loaded model will take, called on the engine
    thread before a load (None: the size of its weight files). `renderer` names `(Model) -> Render`: it writes
    conversations as the engine does, without loading the model, so that `mlxk show` knows what ends a turn.

    The other fields state what its engines can do; a request for anything else is an error before the model is loaded.
    `constraints`: they enforce `Row.constraint`. `prompt_logprobs`: they score the prompt for `Row.prompt_logprobs`.
    `sampling`: the fields of `Sampling` that they apply; greedy decoding (`temperature=0`) is always one.
    `tools`: tools can be offered to their models.
    `tasks`: other kinds of work (`embeddings`, `rerank`), an open vocabulary.

    `framework` and `type` are what `mlxk list` shows for its models where the files do not tell.
    """

    name: str
    summary: str
    accepts: Callable[[Model], Verdict]
    target: Target
    estimate: Target | None = None
    renderer: Target | None = None
    constraints: bool = False
    prompt_logprobs: bool = False
    sampling: frozenset[str] = SAMPLING_OPTIONS
    tools: bool = True
    tasks: frozenset[str] = frozenset()
    framework: str | None = None
    type: str | None = None


class ModelSource(Protocol):
    """Models from outside the hub cache, known by name."""

    def names(self) -> Iterable[str]:
        """Return every name that the source offers, including those whose files are missing."""

    def find(self, name: str, /) -> Model | None:
        """Return the model of that exact name, or None. Raises `ModelNotFound`, which says how to get the files, if
        the name is known but its files are missing."""


@runtime_checkable
class FetchingSource(Protocol):
    """Additional member of a source that can download: `mlxk pull SOURCE:NAME` calls it."""

    def fetch(self, name: str, report: Callable[[int], None], /) -> Model:
        """Download the model of that name and return it, as `find` does from then on.

        Call `report(bytes)` with the bytes downloaded so far. Raises `ModelNotFound`, `HubUnavailable`, `AccessDenied`.
        """


@dataclass(frozen=True, kw_only=True)
class ModelSourceSpec:
    """A source of models. `target` is `() -> ModelSource`."""

    name: str
    summary: str
    target: Target


@dataclass(frozen=True, kw_only=True)
class StopPolicy:
    """Stop rules for the answers of one model. All policies are merged without order:
    stop = (the model's own + every `stop_tokens`) - every `keep_tokens`; `stop_strings` act on text, in chats only."""

    stop_tokens: frozenset[str] = frozenset()
    keep_tokens: frozenset[str] = frozenset()
    stop_strings: tuple[str, ...] = ()


class Strength(IntEnum):
    """How good the evidence is that a model writes a format; the strongest wins."""

    NAME = 1
    VOCABULARY = 2
    TEMPLATE = 3
    DECLARED = 4
    """The model's files name the format itself (a `response_template`)."""


@dataclass(frozen=True)
class Evidence:
    """Why a format fits a model; `detail` completes "because …" (`the chat template writes <think>`)."""

    strength: Strength
    detail: str


@dataclass(frozen=True, kw_only=True)
class ReasoningExtractorSpec:
    """A format of reasoning (and tool calls). `matches` returns its evidence for a model, or None, from the files
    alone.

    `target` is `(ExtractorContext) -> Extractor`. `tool_calls` says who finds tool calls: "none" leaves them in the
    content, "own" finds them itself, "around" finds them in the content of another extractor, `ExtractorContext.inner`,
    and is used only for requests that have tools and whose format does not find its own.

    `grammar` names `(ExtractorContext) -> ResponseGrammar | None`: how the format is written, so that a constraint
    applies to the answer and never to the reasoning. A format without one can be constrained where the prompt does not
    open its reasoning; the model then answers without reasoning.
    """

    name: str
    summary: str
    matches: Callable[[Model], Evidence | None]
    target: Target
    tool_calls: Literal["none", "own", "around"] = "none"
    grammar: Target | None = None


@dataclass(frozen=True, kw_only=True)
class ConstraintSpec:
    """A language in which a request may say what its answer must match: `json_schema`, `regex`, …

    `target` is `() -> ConstraintCompiler`.
    """

    kind: str
    target: Target

    @property
    def name(self) -> str:
        return self.kind


@dataclass(frozen=True, kw_only=True)
class LifecycleListener:
    """Functions that are called with life-cycle events, for logs, telemetry and billing.

    Each takes one event of `mlxk_core.api.lifecycle`: `ModelLoaded`, `ModelUnloaded`, `RequestAccepted`,
    `RequestFinished`. They are called in order, on a thread of their own, and cannot change a request.
    """

    name: str
    on_load: Callable[[ModelLoaded], None] | None = None
    on_unload: Callable[[ModelUnloaded], None] | None = None
    on_request: Callable[[RequestAccepted], None] | None = None
    on_finish: Callable[[RequestFinished], None] | None = None


@dataclass(frozen=True, kw_only=True)
class ServerExtensionSpec:
    """Routes and middleware for `mlxk serve`. `target` is `(ServerContext) -> None`, called before the server accepts
    connections."""

    name: str
    summary: str
    target: Target


@dataclass(frozen=True, kw_only=True)
class AgentEndpoint:
    """A server and the model that an agent uses. `url` has no path, `context` is in tokens, `key` may be a
    placeholder."""

    url: str
    model: str
    key: str = "mlxk"
    context: int | None = None

    @property
    def openai_url(self) -> str:
        """The base URL of OpenAI's APIs."""
        return f"{self.url}/v1"


@dataclass(frozen=True, kw_only=True)
class AgentSetup:
    """How to start an agent: arguments before the user's own, environment variables, and files by name.

    The files are written into a temporary folder. `{folder}` in an argument or a variable's value is its path.
    """

    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AgentSpec:
    """A program that `mlxk launch` starts on a local model. `target` is `(AgentEndpoint) -> AgentSetup`.

    `executable` is looked for on PATH, `install` says how to get it.
    """

    name: str
    summary: str
    executable: str
    install: str
    target: Target


RESERVED_SECTIONS = ("defaults", "aliases", "models")
"""The sections of the settings file that are mlxk's own."""


@dataclass(frozen=True, kw_only=True)
class SettingsSection:
    """A section of the settings file.

    `type` is a frozen dataclass whose fields are made with `mlxk_core.api.settings.setting`: `bool`, `int`, `float`,
    `str` or `tuple[str, ...]`, each with `| None` if it may be absent; or the name of one, `"package.module:Class"`,
    which is imported when the settings are read. `name` is a key of the file.
    """

    name: str
    summary: str
    type: Any


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How the weights of one format in a repository are stored.

    `format` is the form of the files: `safetensors`, `gguf`, `pytorch`, or another that a plugin knows. `label` is the
    text for the user (`int4 (group 64)`). `method`: mlx, gptq, awq, fp8, mxfp4, …, none. `requires_mlx` is the first
    MLX version that runs it. `notes` are sentences for the user (tensors and config disagree).
    """

    format: str
    label: str
    method: str = "none"
    mode: str | None = None
    bits: float | None = None
    group_size: int | None = None
    bits_per_weight: float | None = None
    mixed: bool = False
    requires_mlx: str | None = None
    variants: tuple[Variant, ...] = ()
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class QuantizationDetectorSpec:
    """A detector of how weights are stored. `detect` yields one result for each format it knows, from files alone."""

    name: str
    detect: Callable[[Model], Iterable[Quantization]]
