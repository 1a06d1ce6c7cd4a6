"""The routes of the Responses API."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import falcon
import msgspec

from mlxk_core.api import Message, Model
from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.generation import Constraint, GenerationRequest, TokenPolicy, effort_options
from mlxk_core.api.server import ServerContext
from mlxk_protocol.decode import decode
from mlxk_protocol.ids import new_id
from mlxk_protocol.sampling import request_sampling
from mlxk_responses.encoder import ResponsesEncoder
from mlxk_responses.items import to_messages
from mlxk_responses.requests import Item, ResponseRequest, TextFormat
from mlxk_responses.response import Presentation, Response
from mlxk_responses.store import ResponseStore, StoredResponse
from mlxk_responses.tools import ToolChoice, Tools, read_choice, read_tools

_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
# What `include` may name beside those: output of tools that run on OpenAI's servers, of which there is none here.
_NOTHING_TO_INCLUDE = frozenset(
    {"web_search_call.action.sources", "file_search_call.results", "code_interpreter_call.outputs",
     "computer_call_output.output.image_url", "message.input_image.image_url", "web_search_call.results"}
)  # fmt: skip


def extend(server: ServerContext) -> None:
    """Add the routes to a server."""
    store = ResponseStore()
    server.add_route("/v1/responses", Responses(server, store))
    server.add_route("/v1/responses/{id}", OneResponse(store))
    server.add_route("/v1/responses/{id}/cancel", Cancel(store))
    server.add_route("/v1/responses/{id}/input_items", InputItems(store))


class Responses:
    """`POST /v1/responses`."""

    def __init__(self, server: ServerContext, store: ResponseStore) -> None:
        self._server = server
        self._store = store

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), ResponseRequest)
        _check_supported(request)
        model = self._server.models.get(request.model)
        owner = _owner(req)
        items = _input_items(request)
        earlier = self._earlier(request, owner)
        turn = [*earlier, *to_messages(items)]
        tools = read_tools(request.tools or ())
        choice = read_choice(request.tool_choice, tools)
        generation = _generation(request, model, turn, tools, choice, self._server.settings.max_tokens)
        how = _presentation(request, tools, hidden=self._server.settings.hide_reasoning)
        response = _response(request, generation, tools)

        def finished(response: Response) -> None:
            if response.store:
                output = to_messages(msgspec.to_builtins(response.output), path="output")
                self._store.put(
                    StoredResponse(
                        id=response.id,
                        owner=owner,
                        body=msgspec.json.encode(response),
                        input_items=msgspec.json.encode(items),
                        conversation=(*turn, *output),
                    )
                )

        encoder = ResponsesEncoder(response, how, finished)
        self._server.respond(req, resp, [generation], encoder, stream=bool(request.stream))

    def _earlier(self, request: ResponseRequest, owner: str) -> Sequence[Message]:
        if request.previous_response_id is None:
            return ()
        return self._store.get(request.previous_response_id, owner, param="previous_response_id").conversation


class OneResponse:
    """`GET` and `DELETE /v1/responses/{id}`."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        if req.get_param_as_bool("stream"):
            raise InvalidOption("stream", "a stored response cannot be streamed")
        resp.content_type = falcon.MEDIA_JSON
        resp.data = self._store.get(id, _owner(req), param="response_id").body

    def on_delete(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        self._store.delete(id, _owner(req), param="response_id")
        resp.media = {"id": id, "object": "response", "deleted": True}


class Cancel:
    """`POST /v1/responses/{id}/cancel`: a stored response is complete, so there is nothing to cancel."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    def on_post(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        self._store.get(id, _owner(req), param="response_id")
        raise InvalidOption("response_id", "only background responses can be cancelled; close the connection instead")


class InputItems:
    """`GET /v1/responses/{id}/input_items`."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response, id: str) -> None:
        items: list[Item] = msgspec.json.decode(self._store.get(id, _owner(req), param="response_id").input_items)
        data = [{"id": f"item_{number}", **item} for number, item in enumerate(items)]
        order = req.get_param("order") or "desc"
        if order not in ("asc", "desc"):
            raise InvalidOption("order", f"`{order}` is unknown; use asc or desc")
        if order == "desc":
            data.reverse()
        after = req.get_param("after")
        if after is not None:
            ids = [item["id"] for item in data]
            data = data[ids.index(after) + 1 :] if after in ids else []
        limit = req.get_param_as_int("limit", min_value=1, max_value=100) or 20
        page = data[:limit]
        resp.media = {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(data) > limit,
        }


def _owner(req: falcon.Request) -> str:
    """Return what stands for the request's API key: responses belong to the key that made them."""
    _, _, bearer = (req.get_header("authorization") or "").partition(" ")
    key = bearer.strip() or (req.get_header("x-api-key") or "").strip()
    return hashlib.sha256(key.encode()).hexdigest()


def _check_supported(request: ResponseRequest) -> None:
    """Raise `InvalidOption` for what cannot be done here."""
    if request.background:
        raise InvalidOption("background", "background responses are not supported; use stream")
    if request.conversation is not None:
        raise InvalidOption("conversation", "not supported; use previous_response_id")
    if request.prompt is not None:
        raise InvalidOption("prompt", "stored prompts are not supported; use input and instructions")
    if request.truncation not in (None, "disabled"):
        raise InvalidOption("truncation", f"`{request.truncation}` is not supported; shorten the input instead")
    if request.max_tool_calls is not None:
        raise InvalidOption("max_tool_calls", "there are no tools that run on this server")
    for name in request.include or ():
        if name not in (_ENCRYPTED, _LOGPROBS) and name not in _NOTHING_TO_INCLUDE:
            raise InvalidOption("include", f"`{name}` is unknown")


def _input_items(request: ResponseRequest) -> list[Item]:
    if request.input is None or request.input == []:
        if request.previous_response_id is None:
            raise InvalidOption("input", "required")
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
    wants_logprobs = _LOGPROBS in (request.include or ()) or bool(request.top_logprobs)
    return GenerationRequest(
        model=model,
        prompt=[*system, *turn],
        sampling=request_sampling(
            model,
            temperature=request.temperature,
            top_p=request.top_p,
            logprobs=(request.top_logprobs or 0) if wants_logprobs else None,
        ),
        max_tokens=request.max_output_tokens or default_max_tokens,
        token_policy=TokenPolicy.HALF_CONTEXT,
        tools=() if choice.mode == "none" else tools.tools,
        must_call=choice.mode == "required",
        tool_names=choice.names,
        parallel_calls=request.parallel_tool_calls is not False,
        constraint=_constraint(request.text.format if request.text else None),
        thinking_budget=reasoning.max_tokens if reasoning else None,
        template_options=effort_options(model, reasoning.effort if reasoning else None),
        keep_to_template=True,
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
    reasoning, text = request.reasoning, request.text
    format: Any = {"type": "text"} if text is None or text.format is None else _given(text.format)
    known = {tool.name for tool in tools.tools}
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
        tool_choice=request.tool_choice or "auto",
        tools=[
            {"strict": False, **tool}
            for tool in request.tools or ()
            if tool.get("type") == "namespace" or tool.get("name") in known
        ],
        top_logprobs=request.top_logprobs or 0,
        top_p=generation.sampling.top_p,
        user=request.user,
    )


def _given(format: TextFormat) -> dict[str, Any]:
    fields = {"type": format.type, "name": format.name, "schema": format.schema, "strict": format.strict,
              "description": format.description}  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None}
