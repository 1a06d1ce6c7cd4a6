"""What a request may say: typed, range-checked, with the path of the field at fault when it is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from mlxk_core.api.server import ApiError
from mlxk_serve.http.errors import invalid, unsupported

_S = TypeVar("_S", bound="CommonRequest")

Count = Annotated[int, Meta(ge=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
NonEmpty = Annotated[str, Meta(min_length=1)]
Stops = str | Annotated[list[NonEmpty], Meta(max_length=16)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Bias = dict[str, Annotated[float, Meta(ge=-100, le=100)]]
Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Budget = Annotated[int, Meta(ge=-1)]
TokenId = Annotated[int, Meta(ge=0)]


class ReasoningOptions(Struct):
    """OpenRouter's and OpenAI's form of the options of reasoning."""

    max_tokens: Budget | None = None
    effort: Effort | None = None
    exclude: bool | None = None


class StreamOptions(Struct):
    include_usage: bool | None = None


class Part(Struct):
    """A piece of a message's content; only text is supported."""

    type: str
    text: str | None = None


class FunctionCall(Struct):
    name: str
    arguments: str | None = None


class ToolCallIn(Struct):
    id: str
    function: FunctionCall
    type: Literal["function"] | None = None


class ChatMessage(Struct):
    """A turn of the conversation. Reasoning is taken back under either name; `function_call` is refused by it."""

    role: Role
    content: str | list[Part] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallIn] | None = None
    tool_call_id: str | None = None
    function_call: dict[str, Any] | None = None


class Function(Struct):
    name: NonEmpty
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolIn(Struct):
    function: Function
    type: Literal["function"] | None = None


class CommonRequest(Struct, kw_only=True):
    """What both kinds of request have in common."""

    model: NonEmpty | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Probability | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Bias | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    user: str | None = None
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: Any = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    grammar: str | None = None
    json_schema: Any = None
    thinking_token_budget: Budget | None = None
    thinking_budget: Budget | None = None
    reasoning_budget: Budget | None = None
    reasoning: ReasoningOptions | None = None


class ChatRequest(CommonRequest, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[ToolIn], Meta(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    include_reasoning: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class TextRequest(CommonRequest, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | list[str | TokenId | list[TokenId]]
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


# Fields we know, from OpenAI or from other servers, and do not act on, with the values that ask for nothing. Any other
# value is refused: a client that is told sooner is better off than one whose constraint was dropped in silence.
_ANYWHERE: Mapping[str, tuple[Any, ...]] = {
    "adapter": (), "adapters": (), "add_generation_prompt": (True,), "allowed_token_ids": (), "bad_words": ([],),
    "chat_template": (), "continue_final_message": (False,), "documents": ([],), "draft_model": (),
    "dry_multiplier": (0,), "ignore_eos": (False,), "keep_alive": (), "length_penalty": (1,),
    "min_tokens": (0,), "mirostat": (0,), "num_draft_tokens": (0,), "prompt_logprobs": (0,),
    "role_mapping": (), "service_tier": ("auto", "default"),
    "stop_token_ids": ([],), "store": (False,), "truncate_prompt_tokens": (), "ttl": (), "typical_p": (1,),
    "use_beam_search": (False,), "xtc_probability": (0,),
}  # fmt: skip
_CHAT: Mapping[str, tuple[Any, ...]] = {
    **_ANYWHERE, "audio": (), "best_of": (1,), "echo": (False,), "function_call": ("none", "auto"), "functions": ([],),
    "modalities": (["text"],), "prediction": (), "suffix": ("",), "thinking": (),
    "verbosity": ("medium",), "web_search_options": (),
}  # fmt: skip
_TEXT: Mapping[str, tuple[Any, ...]] = {**_ANYWHERE, "best_of": (1,), "suffix": ("",), "tools": ([],)}
_REFUSED: Mapping[type[Struct], Mapping[str, tuple[Any, ...]]] = {ChatRequest: _CHAT, TextRequest: _TEXT}

_WHOLE_NUMBERS = ("max_tokens", "max_completion_tokens", "top_k", "n", "seed", "top_logprobs", "logprobs")
_BOM = b"\xef\xbb\xbf"
_AT = re.compile(r" - at `\$\.?(?P<path>.*)`$")
_MISSING = re.compile(r"missing required field (?P<field>\w+)")
_UNKNOWN_WORD = "Invalid enum value "
_WORDS = {
    "role": get_args(Role),
    "reasoning_effort": get_args(Effort),
    "effort": get_args(Effort),
    "type": ("function",),
}


def decode(body: bytes, kind: type[_S]) -> _S:
    """The request in `body`. Raises an `ApiError` that names the field at fault.

    `null` is absent, a field that nobody knows is ignored, and `5.0` is a whole number, as JavaScript writes it.
    """
    value, fault = _read(body)
    if not isinstance(value, dict):
        raise fault or ApiError(400, "The body must be a JSON object.", code="invalid_json")
    fields = {name: value for name, value in value.items() if value is not None}
    for name, harmless in _REFUSED[kind].items():
        if name in fields and fields[name] not in harmless:
            raise unsupported(name, _only(name, harmless))
    for name in _WHOLE_NUMBERS:
        number = fields.get(name)
        if type(number) is float and number.is_integer():
            fields[name] = int(number)
    try:
        request = msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise _at_fault(error) from None
    if fault:
        raise fault
    return request


def _only(name: str, values: tuple[Any, ...]) -> str:
    if not values:
        return f"`{name}` is not supported here. Leave it out."
    return f"`{name}`: only {' or '.join(json.dumps(value) for value in values)} is supported here."


def _read(body: bytes) -> tuple[Any, ApiError | None]:
    """The value in `body`, and what is wrong with it as JSON. Python reads numbers that JSON has no word for (NaN,
    1e400), so that the range checks can name their field before the request is refused anyway."""
    body = body.removeprefix(_BOM)
    try:
        return msgspec.json.decode(body), None
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        reason = "it is nested too deep" if deep else str(error).removeprefix("JSON is malformed: ")
        fault = _no_json(reason)
    try:
        value = json.loads(body)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # msgspec takes it for a text that was cut off
        return None, _no_json("an escape in it stands for half a character (a surrogate without its other half)")
    except (ValueError, RecursionError):
        return None, fault
    return value, fault


def _no_json(reason: str) -> ApiError:
    return ApiError(400, f"The body is not JSON: {reason}.", code="invalid_json")


def _at_fault(error: msgspec.ValidationError) -> ApiError:
    text = str(error)
    at = _AT.search(text)
    path = at["path"].removesuffix("[...]") if at else ""
    problem = (text[: at.start()] if at else text).replace(" | null", "").replace("`", "")
    missing = _MISSING.search(problem)
    if missing:
        path = f"{path}.{missing['field']}" if path else missing["field"]
        return invalid(f"`{path}` is required.", path)
    words = _WORDS.get(path.rpartition(".")[2])
    if words and problem.startswith(_UNKNOWN_WORD):
        one = " or ".join(json.dumps(word) for word in words)
        return invalid(f"`{path}`: {problem.removeprefix(_UNKNOWN_WORD)} is not known; it must be {one}.", path)
    return invalid(f"`{path}`: {problem[:1].lower()}{problem[1:]}.", path or None)
