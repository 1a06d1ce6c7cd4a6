"""Typed errors, and the table that maps each to a JSON type, an exit code and an HTTP status.

Everything mlxk raises on purpose is an `MlxkError`. Its message says what happened, with which input, and what to do
next; `details` carries the same facts as data for `--json` and for the server. A plugin adds an error by deriving
from one of these: it inherits the row of its base, or names its own with `kind`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from mlxk_core._text.control_characters import one_line
from mlxk_core._text.shorten import shorten_middle

_MAX_CANDIDATES = 10
_LONGEST_MESSAGE = 20_000
"""Characters. A message may quote a value of megabytes, and whoever shows it searches it for paths and keys."""


class Kind(NamedTuple):
    """How an error is reported: `type` in JSON, the exit code of the process, and an HTTP status."""

    type: str
    exit_code: int
    http_status: int


class MlxkError(Exception):
    """An error that the user can act on. `str(error)` is the complete message."""

    kind: Kind | None = None
    """Overrides the row of the table for its class."""
    data: Any = None
    """A partial result (half an answer, a list with a bad entry), shown as `data` of the envelope."""
    headline: str = ""
    lines: Sequence[str] = ()
    """What a terminal shows instead of the message, if there are `lines`: the headline, then one line each."""

    def __init__(self, message: str, *, data: Any = None, kind: Kind | None = None, **details: Any) -> None:
        super().__init__(shorten_middle(message, _LONGEST_MESSAGE))
        self.details: Mapping[str, Any] = details
        self.data = data
        if kind is not None:
            self.kind = kind

    def with_hint(self, text: str, **details: Any) -> Self:
        """Return the same error whose message ends with `text`, and whose details have these entries too."""
        hinted = self._copy()
        hinted.args = (f"{self} {text}".rstrip(),)
        hinted.details = {**self.details, **details}
        return hinted

    def with_data(self, data: Any) -> Self:
        """Return the same error with `data`."""
        changed = self._copy()
        changed.data = data
        return changed

    def detached(self) -> Self:
        """Return the same error without its cause and its traceback, whose frames hold what was read or loaded."""
        return self._copy().with_traceback(None)

    def _copy(self) -> Self:
        # copy.copy calls the class with `args`, which are not those of a subclass's `__init__`.
        copied = type(self).__new__(type(self), *self.args)
        copied.__dict__.update(self.__dict__)
        return copied.with_traceback(self.__traceback__)


class UsageError(MlxkError):
    """The command line is wrong."""


class InvalidOption(UsageError):
    """An option has an invalid value. `option` is its name as the user wrote it or as the API calls it."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}", option=option)
        self.option = option
        self.problem = problem


class InvalidConstraint(InvalidOption):
    """A schema, pattern or grammar is invalid or not supported. `path` is where in it (`$.properties.age.minimum`)."""

    def __init__(self, option: str, problem: str, *, path: str | None = None) -> None:
        super().__init__(option, problem if path in (None, "$") else f"at {path}: {problem}")
        self.reason = problem
        self.path = path
        self.details = {**self.details, "path": path}


class PluginConflict(UsageError):
    """Two plugins claim the same thing, and the user has to choose."""


class ModelError(MlxkError):
    """Base of errors about one model."""


class ModelNotFound(ModelError):
    """No model matches a reference. `hint` is what to do next; `pullable`: a hub may have it."""

    def __init__(self, reference: str, *, hint: str = "", pullable: bool = False) -> None:
        super().__init__(f"Model `{reference}` not found.{' ' + hint if hint else ''}", reference=reference)
        self.reference = reference
        self.pullable = pullable


class AmbiguousModel(ModelError):
    """Several models match a reference. `candidates` are in the order to show them in."""

    def __init__(self, reference: str, candidates: Iterable[str], *, what: str = "models") -> None:
        names = list(candidates)
        shown = names[:_MAX_CANDIDATES]
        more = f"and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        super().__init__(
            f"`{reference}` matches {len(names)} {what}: {', '.join(shown)}{' ' + more if more else ''}. Choose one.",
            reference=reference,
            candidates=names,
        )
        self.headline = f"`{reference}` matches {len(names)} {what}. Choose one:"
        self.lines = [*shown, *([more] if more else [])]
        self.reference = reference
        self.candidates = names


class RevisionNotFound(ModelError):
    """The model exists, but the revision does not."""


class BrokenModel(ModelError):
    """Files of the model are missing, truncated or unreadable."""


class UnsupportedModel(ModelError):
    """The model is complete, but nothing installed can run it."""


class ContextLengthExceeded(ModelError):
    """The prompt alone does not fit the model's context. Both numbers are in tokens."""

    def __init__(self, prompt_tokens: int, context_length: int, *, at_least: bool = False) -> None:
        counted = f"at least {prompt_tokens}" if at_least else f"{prompt_tokens}"
        super().__init__(
            # OpenAI's wording first: clients that shorten conversations look for it (LiteLLM, and what builds on it).
            f"This model's maximum context length is {context_length} tokens and the prompt has {counted}, "
            "so none is left for an answer. Shorten the prompt.",
            prompt_tokens=prompt_tokens,
            context_length=context_length,
        )
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class TemplateError(ModelError):
    """The model's chat template rejects the conversation."""


class TemplateLimitExceeded(TemplateError):
    """The model's chat template exceeds a limit of time, memory or output."""


class NoTemplate(TemplateError):
    """The model has no chat template."""

    def __init__(self) -> None:
        super().__init__("The model has no chat template.")


class InsufficientMemory(MlxkError):
    """A model or a prompt needs more memory than there is. Sizes in bytes are in `details`."""


class SystemLimit(MlxkError):
    """The system has no file descriptor, thread, process or memory left. It says nothing about a model or a plugin."""


class NotEnoughDisk(MlxkError):
    """Files to be written do not fit on the disk. Sizes in bytes are in `details`."""


class EngineFailure(MlxkError):
    """The engine raised while it ran a request. The service continues; the request is lost."""


class ConstraintFailure(MlxkError):
    """A constraint could not be kept to the end of a response: its grammar went beyond a limit."""


class QueueFull(MlxkError):
    """Too many requests are waiting. `retry_after` is in seconds."""

    def __init__(self, limit: int, *, retry_after: int) -> None:
        super().__init__(
            f"{limit} requests are waiting already. Try again in {retry_after} s.", limit=limit, retry_after=retry_after
        )
        self.retry_after = retry_after


class ShuttingDown(MlxkError):
    """The service is closing and takes no more requests."""


class Interrupted(MlxkError):
    """The user stopped the work (Ctrl-C, or the client disconnected)."""


class AccessDenied(MlxkError):
    """A hub denies access: the token is missing, invalid, or lacks permission."""


class HubUnavailable(MlxkError):
    """A hub cannot be reached, or has an error of its own."""


class PluginFailure(MlxkError):
    """A plugin cannot be loaded or raised in a hook; raised in strict mode and when the user named its command."""


KINDS: Mapping[type[BaseException], Kind] = {
    UsageError: Kind("usage_error", 2, 400),
    InvalidOption: Kind("invalid_option", 2, 400),
    InvalidConstraint: Kind("invalid_constraint", 2, 400),
    PluginConflict: Kind("plugin_conflict", 2, 500),
    ModelNotFound: Kind("model_not_found", 1, 404),
    AmbiguousModel: Kind("ambiguous_model", 1, 400),
    RevisionNotFound: Kind("revision_not_found", 1, 404),
    BrokenModel: Kind("broken_model", 1, 500),
    UnsupportedModel: Kind("unsupported_model", 1, 400),
    ContextLengthExceeded: Kind("context_length_exceeded", 1, 400),
    NoTemplate: Kind("no_template", 1, 400),
    TemplateLimitExceeded: Kind("template_limit_exceeded", 1, 500),
    TemplateError: Kind("template_error", 1, 400),
    ModelError: Kind("model_error", 1, 500),
    InsufficientMemory: Kind("insufficient_memory", 1, 503),
    SystemLimit: Kind("system_limit", 1, 503),
    NotEnoughDisk: Kind("not_enough_disk", 1, 507),
    EngineFailure: Kind("engine_failure", 1, 503),
    ConstraintFailure: Kind("constraint_failure", 1, 422),
    QueueFull: Kind("queue_full", 1, 429),
    ShuttingDown: Kind("shutting_down", 1, 503),
    Interrupted: Kind("interrupted", 130, 499),
    AccessDenied: Kind("access_denied", 1, 403),
    HubUnavailable: Kind("hub_unavailable", 1, 503),
    PluginFailure: Kind("plugin_failure", 1, 500),
    MlxkError: Kind("error", 1, 500),
}
_UNEXPECTED = Kind("internal_error", 1, 500)


def kind_of(error: BaseException) -> Kind:
    """Return the row of the table for `error`: its own `kind`, or that of its nearest base in `KINDS`."""
    if isinstance(error, MlxkError) and error.kind is not None:
        return error.kind
    for cls in type(error).__mro__:
        if cls in KINDS:
            return KINDS[cls]
    return _UNEXPECTED


def text_of(error: BaseException) -> str:
    """Return `str(error)`, empty if the error of a plugin raises in its `__str__`."""
    try:
        return str(error)
    except Exception:
        return ""


def type_and_message(error: BaseException) -> str:
    """Return `ValueError: what is wrong` on one line; the type alone without a message, or if that cannot be read."""
    text = one_line(text_of(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def release_locals(error: BaseException) -> None:
    """Clear the local variables of all calls that `error` and its causes came through, such as a network with all its
    weights, or the text of a file. The traceback stays, for those who print it."""
    import traceback  # takes milliseconds, and is needed after failures only

    found: list[BaseException] = [error]
    seen: set[int] = set()
    while found:
        each = found.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        traceback.clear_frames(each.__traceback__)
        found += [other for other in (each.__cause__, each.__context__) if other is not None]
