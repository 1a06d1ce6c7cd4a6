"""The routes of the Responses API."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import falcon
import msgspec

from mlxk_core.api import Message, Model
from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.generation import Constraint, GenerationRequest, TokenPolicy, effort_options, prompt_size
from mlxk_core.api.server import ApiError, Cancellation, Operation, ServerContext
from mlxk_protocol.decode import decode, required
from mlxk_protocol.decoders import decoder_of
from mlxk_protocol.errors import Unsupported
from mlxk_protocol.ids import new_id
from mlxk_protocol.sampling import request_sampling
from mlxk_responses.background import Run, Runs
from mlxk_responses.damaged_responses import raise_damaged
from mlxk_responses.encoder import ResponsesEncoder
from mlxk_responses.item_pages import page
from mlxk_responses.items import stored, to_messages
from mlxk_responses.requests import Item, ResponseRequest, TextFormat
from mlxk_responses.response import Presentation, Response, plain
from mlxk_responses.settings import ResponsesSettings
from mlxk_responses.sqlite_store import SqliteStore
from mlxk_responses.store import Bounds, MemoryStore, ResponseStore, StoredResponse, get, not_found
from mlxk_responses.tools import ToolChoice, Tools, read_choice, read_tools

_ENCRYPTED = "reasoning.encrypted_content"
_LARGEST_TOOLS = 2 << 20  # bytes; each event of a response that begins or ends it has them
_MOST_MESSAGES = 20_000
"""Messages and calls of a conversation: a request with `previous_response_id` reads them all, however small it is."""
_TOOL_FIELDS = frozenset({"type", "name", "description", "parameters", "strict", "tools"})
_CHOICE_FIELDS = frozenset({"type", "name", "namespace", "mode", "tools"})
_LOGPROBS = "message.output_text.logprobs"
# What `include` may name beside those: output of tools that run on OpenAI's servers, of which there is none here.
_NOTHING_TO_INCLUDE = frozenset(
    {"web_search_call.action.sources", "file_search_call.results", "code_interpreter_call.outputs",
     "computer_call_output.output.image_url", "message.input_image.image_url", "web_search_call.results"}
)  # fmt: skip


def extend(server: ServerContext) -> None:
    """Add the routes to a server."""
    settings = server.host.settings.section(ResponsesSettings)
    bounds = Bounds(responses=settings.max_responses, bytes=settings.max_bytes, age=settings.max_age)
    store, runs = open_store(settings.file, bounds), Runs(bounds)
    create = Operation(
        method="post",
        summary="Create a response.",
        request=ResponseRequest,
        response=Response,
        stream=ResponsesEncoder.content_type,
    )
    fetch = Operation(
        method="get",
        summary="Return a stored response.",
        response=Response,
        stream=ResponsesEncoder.content_type,
        query=("stream", "starting_after"),
    )
    delete = Operation(method="delete", summary="Delete a stored response.", response=dict[str, Any])
    cancel = Operation(method="post", summary="End a background response.", response=Response)
    items = Operation(
        method="get", summary="Return its input.", response=dict[str, Any], query=("order", "limit", "after")
    )
    server.add_route("/v1/responses", Responses(server, store, runs), operations=[create])
    count = Operation(
        method="post", summary="Count the tokens of the input.", request=ResponseRequest, response=dict[str, Any]
    )
    server.add_route("/v1/responses/input_tokens", InputTokens(server, store), operations=[count])
    server.add_route("/v1/responses/compact", Compact())
    one = OneResponse(server, store, runs)
    server.add_route("/v1/responses/{id}", one, operations=[fetch, delete])
    server.add_route("/v1/responses/{id}/cancel", Cancel(server, store, runs), operations=[cancel])
    server.add_route("/v1/responses/{id}/input_items", InputItems(store), operations=[items])


def open_store(file: str | None, bounds: Bounds) -> ResponseStore:
    """Return the store in `file`, or in memory without one. Raises `InvalidOption` for a file that cannot be used."""
    return MemoryStore(bounds) if file is None else SqliteStore(Path(file), bounds)


class Responses:
    """`POST /v1/responses`."""

    def __init__(self, server: ServerContext, store: ResponseStore, runs: Runs) -> None:
        self._server = server
        self._store = store
        self._runs = runs

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), ResponseRequest)
        _check_supported(request)
        model = self._server.models.get(request.model)
        owner = _owner(req)
        items = _input_items(request)
        earlier, new = _earlier(self._store, request, owner), to_messages(items)
        tools = read_tools(request.tools or ())
        choice = read_choice(request.tool_choice, tools)
        turn = _conversation(earlier, new)
        generation = _generation(request, model, turn, tools, choice, self._server.settings.max_tokens)
        how = _presentation(request, tools, hidden=self._server.settings.hide_reasoning)
        response = _response(request, generation, tools)

        client = self._server.client(req).id

        def finished(response: Response) -> None:
            if response.store:
                output = to_messages([plain(item) for item in response.output], path="output")
                found = StoredResponse(
                    id=response.id,
                    owner=owner,
                    body=msgspec.json.encode(response),
                    input_items=stored(items),
                    client=_digest(client),
                )
                self._store.put(found, (*earlier, *new, *output))

        encoder = ResponsesEncoder(response, how, finished)
        if not request.background:
            self._server.respond(req, resp, [generation], encoder, stream=bool(request.stream))
            return
        if self._runs.full(client, self._server.settings.places):
            raise self._server.service.full()
        generation = replace(generation, client=client)
        submit = partial(self._server.service.submit, generation)
        read = partial(self._server.events, request=generation)
        run = Run(response.id, owner, client, request_size=prompt_size(generation))
        begun = self._runs.start(run, submit, read, encoder)
        if request.stream:
            _follow(self._server, req, resp, run, -1)
        else:
            resp.content_type = falcon.MEDIA_JSON
            resp.data = begun


class InputTokens:
    """`POST /v1/responses/input_tokens`. It loads the model, because the count needs its tokenizer."""

    def __init__(self, server: ServerContext, store: ResponseStore) -> None:
        self._server = server
        self._store = store

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), ResponseRequest)
        _check_supported(request)
        model = self._server.models.get(request.model)
        earlier = _earlier(self._store, request, _owner(req))
        turn = _conversation(earlier, to_messages(_input_items(request)))
        tools = read_tools(request.tools or ())
        choice = read_choice(request.tool_choice, tools)
        generation = _generation(request, model, turn, tools, choice, None)
        work = partial(self._count, generation, earlier)
        self._server.run(req, resp, work, content_type=falcon.MEDIA_JSON, stream=False)

    def _count(
        self, generation: GenerationRequest, earlier: Sequence[Message], cancellation: Cancellation
    ) -> Iterable[bytes]:
        """Count the tokens. Who waits for that shares `earlier`, the messages of the stored conversation."""
        prompt = self._server.service.prompt(generation, waiting=cancellation.check)
        yield b'{"object":"response.input_tokens","input_tokens":%d}' % len(prompt.tokens)


class Compact:
    """`POST /v1/responses/compact`. Its result is encrypted for OpenAI's own models."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise ApiError(
            404,
            f"{req.path} is not supported: this server cannot compact a conversation. Use `truncation: auto`.",
            code="unsupported",
        )

    on_get = on_delete = on_post  # otherwise `compact` would be the id of a response


class OneResponse:
    """`GET` and `DELETE /v1/responses/{id}`."""

    def __init__(self, server: ServerContext, store: ResponseStore, runs: Runs) -> None:
        self._server = server
        self._store = store
        self._runs = runs

    def on_get(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        owner = _owner(req)
        run = self._runs.find(id, owner)
        if req.get_param_as_bool("stream"):
            if run is None:
                get(self._store, id, owner, param="response_id")
                raise InvalidOption("stream", "the events of this response are not kept; only background responses are")
            after = req.get_param_as_int("starting_after", min_value=0)
            _follow(self._server, req, resp, run, -1 if after is None else after)
            return
        resp.content_type = falcon.MEDIA_JSON
        resp.data = run.body() if run is not None else get(self._store, id, owner, param="response_id").body

    def on_delete(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        owner = _owner(req)

        def delete(cancellation: Cancellation) -> Iterable[bytes]:
            cancelled = self._runs.delete(id, owner)  # before the store: what ends is stored
            if not self._store.delete(id, owner) and not cancelled:
                raise not_found(id, "response_id")
            yield msgspec.json.encode({"id": id, "object": "response", "deleted": True})

        _wait(self._server, req, resp, delete)


class Cancel:
    """`POST /v1/responses/{id}/cancel`: end a background response. One that has ended is returned as it is."""

    def __init__(self, server: ServerContext, store: ResponseStore, runs: Runs) -> None:
        self._server = server
        self._store = store
        self._runs = runs

    def on_post(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        owner = _owner(req)
        run = self._runs.find(id, owner)
        if run is None:
            body = get(self._store, id, owner, param="response_id").body
            with raise_damaged():
                background = decoder_of(_Background).decode(body).background
            if not background:
                raise InvalidOption(
                    "response_id", "only background responses can be cancelled; close the connection instead"
                )
            resp.content_type = falcon.MEDIA_JSON
            resp.data = body
            return

        def cancel(cancellation: Cancellation) -> Iterable[bytes]:
            run.cancel()
            yield run.body()

        _wait(self._server, req, resp, cancel)


def _follow(server: ServerContext, req: falcon.Request, resp: falcon.Response, run: Run, after: int) -> None:
    """Respond with the events of `run` whose sequence number is above `after`."""
    server.run(
        req,
        resp,
        partial(run.stream, after),
        content_type=ResponsesEncoder.content_type,
        stream=True,
        waits=True,
        stream_error=run.stream_error,
    )


def _wait(
    server: ServerContext,
    req: falcon.Request,
    resp: falcon.Response,
    work: Callable[[Cancellation], Iterable[bytes]],
) -> None:
    """Respond with what `work` yields, which waits for a background response to end: that may take seconds."""
    server.run(req, resp, work, content_type=falcon.MEDIA_JSON, stream=False, takes_place=False, waits=True)


class _Background(msgspec.Struct):
    background: bool = False


class InputItems:
    """`GET /v1/responses/{id}/input_items`."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        order = req.get_param("order") or "desc"
        if order not in ("asc", "desc"):
            raise InvalidOption("order", f"`{order}` is unknown; use asc or desc")
        limit = req.get_param_as_int("limit", min_value=1, max_value=100) or 20
        items = get(self._store, id, _owner(req), param="response_id").input_items
        with raise_damaged():
            found = page(items, descending=order == "desc", limit=limit, after=req.get_param("after"))
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(
            {
                "object": "list",
                "data": [msgspec.Raw(item) for item in found.items],
                "first_id": found.first_id,
                "last_id": found.last_id,
                "has_more": found.has_more,
            }
        )


def _owner(req: falcon.Request) -> str:
    """Return an identifier of the request's API key: responses belong to the key that created them."""
    _, _, bearer = (req.get_header("authorization") or "").partition(" ")
    key = bearer.strip() or (req.get_header("x-api-key") or "").strip()
    return _digest(key)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _conversation(earlier: Sequence[Message], new: Sequence[Message]) -> list[Message]:
    """Return the messages of a request after those that it continues."""
    messages = [*earlier, *new]
    count = sum(1 + len(message.tool_calls) for message in messages)
    if count > _MOST_MESSAGES:
        raise InvalidOption(
            "input", f"the conversation has {count:,} messages and calls, at most {_MOST_MESSAGES:,} are possible"
        )
    return messages


def _earlier(store: ResponseStore, request: ResponseRequest, owner: str) -> Sequence[Message]:
    """Return the conversation that the request continues."""
    if request.previous_response_id is None:
        return ()
    conversation = store.conversation(request.previous_response_id, owner)
    if conversation is None:
        raise not_found(request.previous_response_id, "previous_response_id")
    return conversation


def _check_supported(request: ResponseRequest) -> None:
    """Raise `InvalidOption` for what cannot be done here."""
    if request.background and request.store is False:
        raise InvalidOption("background", "needs `store`: a background response is fetched later")
    if request.stream_options is not None and not request.stream:
        raise InvalidOption("stream_options", "needs `stream: true`")
    if request.context_management:
        raise Unsupported("context_management", "compaction is not supported; use `truncation: auto`")
    if request.conversation is not None:
        raise Unsupported("conversation", "not supported; use previous_response_id")
    if request.prompt is not None:
        raise Unsupported("prompt", "stored prompts are not supported; use input and instructions")
    if request.max_tool_calls is not None:
        raise Unsupported("max_tool_calls", "there are no tools that run on this server")
    for name in request.include or ():
        if name not in (_ENCRYPTED, _LOGPROBS) and name not in _NOTHING_TO_INCLUDE:
            raise InvalidOption("include", f"`{name}` is unknown")


def _input_items(request: ResponseRequest) -> list[Item]:
    if request.input is None or request.input == []:
        if request.previous_response_id is None:
            raise required("input") if request.input is None else InvalidOption("input", "must not be empty")
        return []
    if isinstance(request.input, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": request.input}]}]
    return request.input


def _generation(
    request: ResponseRequest,
    model: Model,
    turn: Sequence[Message],
    tools: Tools,
    choice: ToolChoice,
    default_max_tokens: int | None,
) -> GenerationRequest:
    reasoning = request.reasoning
    system = [Message(role="system", content=request.instructions)] if request.instructions else []
    stop = request.stop or ()
    wants_logprobs = _LOGPROBS in (request.include or ()) or bool(request.top_logprobs)
    return GenerationRequest(
        model=model,
        prompt=[*system, *turn],
        sampling=request_sampling(
            model,
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            min_p=request.min_p,
            repetition_penalty=request.repetition_penalty,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            seed=request.seed,
            logprobs=(request.top_logprobs or 0) if wants_logprobs else None,
        ),
        max_tokens=request.max_output_tokens or default_max_tokens,
        token_policy=TokenPolicy.HALF_CONTEXT,
        stop=tuple(text for text in ((stop,) if isinstance(stop, str) else stop) if text),
        tools=() if choice.mode == "none" else tools.tools,
        must_call=choice.mode == "required",
        tool_names=choice.names,
        parallel_calls=request.parallel_tool_calls is not False,
        constraint=_constraint(request.text.format if request.text else None),
        thinking_budget=reasoning.max_tokens if reasoning else None,
        template_options=effort_options(model, reasoning.effort if reasoning else None),
        keep_to_template=True,
        drop_oldest_turns=request.truncation == "auto",
    )


def _constraint(format: TextFormat | None) -> Constraint | None:
    if format is None or format.type == "text":
        return None
    if format.type == "json_object":
        return Constraint(kind="json_object", value=True, option="text.format")
    if format.schema is None:
        raise InvalidOption("text.format.schema", "required")
    return Constraint(kind="json_schema", value=format.schema, option="text.format.schema")


def _presentation(request: ResponseRequest, tools: Tools, *, hidden: bool) -> Presentation:
    reasoning = request.reasoning
    return Presentation(
        tools=tools,
        hide_reasoning=hidden or (reasoning is not None and reasoning.effort == "none"),
        summarize=bool(reasoning and (reasoning.summary or reasoning.generate_summary)),
        encode_reasoning=_ENCRYPTED in (request.include or ()),
        logprobs=_LOGPROBS in (request.include or ()) or bool(request.top_logprobs),
    )


def _response(request: ResponseRequest, generation: GenerationRequest, tools: Tools) -> Response:
    reasoning, text, choice = request.reasoning, request.text, request.tool_choice
    format: Any = {"type": "text"} if text is None or text.format is None else _given(text.format)
    known = {tool.name for tool in tools.tools}
    shown = [
        {"strict": False, **_known(tool, _TOOL_FIELDS)}
        for tool in request.tools or ()
        if tool["type"] == "namespace" or (tool["type"] == "function" and tool["name"] in known)
    ]
    if len(msgspec.json.encode(shown)) > _LARGEST_TOOLS:
        raise InvalidOption("tools", f"may have {_LARGEST_TOOLS:,} bytes at most")
    return Response(
        id=new_id("resp"),
        created_at=int(time.time()),
        status="in_progress",
        model=request.model,
        output=[],
        instructions=request.instructions,
        max_output_tokens=request.max_output_tokens,
        metadata=request.metadata or {},
        parallel_tool_calls=request.parallel_tool_calls is not False,
        previous_response_id=request.previous_response_id,
        prompt_cache_key=request.prompt_cache_key,
        reasoning={
            "effort": reasoning.effort if reasoning else None,
            "summary": (reasoning.summary or reasoning.generate_summary) if reasoning else None,
        },
        safety_identifier=request.safety_identifier,
        store=request.store is not False,
        temperature=generation.sampling.temperature,
        text={"format": format, "verbosity": (text.verbosity if text else None) or "medium"},
        tool_choice=_known(choice, _CHOICE_FIELDS) if isinstance(choice, dict) else choice or "auto",
        tools=shown,
        top_logprobs=request.top_logprobs or 0,
        truncation=request.truncation or "disabled",
        background=bool(request.background),
        top_p=generation.sampling.top_p,
        user=request.user,
    )


def _known(tool: Item, names: frozenset[str]) -> Item:
    """Return the fields that are read: a response repeats its tools several times, and the rest may be megabytes."""
    known = {name: value for name, value in tool.items() if name in names}
    if isinstance(known.get("tools"), list):  # of a namespace or a choice: those have no tools of their own
        known["tools"] = [_known(inner, names - {"tools"}) for inner in known["tools"] if isinstance(inner, dict)]
    return known


def _given(format: TextFormat) -> dict[str, Any]:
    if format.type != "json_schema":
        return {"type": format.type}
    fields = {"type": format.type, "name": format.name, "schema": format.schema, "strict": format.strict,
              "description": format.description}  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None}
