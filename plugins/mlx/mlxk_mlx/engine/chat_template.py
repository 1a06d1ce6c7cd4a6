"""Conversations rendered by a model's chat templates, without losing any part of them."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from mlxk_core.api.errors import InvalidOption, NoTemplate, TemplateError, TemplateLimitExceeded
from mlxk_core.api.generation import Message, Tool
from mlxk_core.api.processes import ProcessNotStarted
from mlxk_mlx.engine.message_format import MessageFormat, describe
from mlxk_mlx.engine.template_probe import REASONING, REASONING_PROBES, Probe, shortened
from mlxk_mlx.engine.template_process import (
    EXCEEDED_SECONDS,
    RENDER_PROCESSES,
    TIME_LIMIT,
    OutputLimit,
    TemplateLimit,
    TemplateRenderer,
)

Apply = Callable[[Mapping[str, Any]], str]
"""Render with the variables of a template. Raises anything when the template refuses the conversation."""

_LOGGER = logging.getLogger("mlxk.mlx")
_SHAPES = 512
_LONGEST_RENDERING = TIME_LIMIT / 2
"""What one rendering counts for at most: if it took longer, this process may have been stopped meanwhile."""
_PROBE_TOOL = Tool(name="mlxk_tool", description="A tool.", parameters={"type": "object", "properties": {}})


class _SearchLimit(TemplateLimit):
    """All forms of one shape of conversation together take too long."""


class ChatTemplate:
    """The chat templates of one model by name. `default` renders conversations, `tool_use` those with tools, and `rag`
    those with documents, as in transformers; a model without `default` has none."""

    def __init__(self, templates: Mapping[str, _Template], renderers: Sequence[TemplateRenderer] = ()) -> None:
        self._templates = templates
        self._renderers = renderers

    @classmethod
    def of(cls, templates: Mapping[str, str], special_tokens: Mapping[str, Any]) -> Self:
        """Return the templates with these Jinja sources, which see `special_tokens` (`bos_token` and so on)."""

        if templates:
            RENDER_PROCESSES.warm_up()
        renderers = {name: TemplateRenderer(RENDER_PROCESSES, text, special_tokens) for name, text in templates.items()}
        return cls(
            {name: _Template(renderer, templates[name]) for name, renderer in renderers.items()},
            list(renderers.values()),
        )

    @classmethod
    def of_code(cls, apply: Apply, clock: Callable[[], float] = time.monotonic) -> Self:
        """Return a template that is not Jinja: `apply` renders, in a bounded time."""
        return cls({"default": _Template(apply, "", clock)}, [apply] if isinstance(apply, TemplateRenderer) else [])

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the prompt text.

        Raises `NoTemplate`, and `TemplateError` when the template refuses the conversation or leaves out a part of it
        (`TemplateLimitExceeded`: it exceeds a limit of time, memory or output). Raises `InvalidOption` if it writes far
        more than the conversation has.
        """
        options = options or {}
        name = "tool_use" if tools else "rag" if options.get("documents") else "default"
        template = self._templates.get(name) or self._templates.get("default")
        if template is None:
            raise NoTemplate
        return template.render(messages, tools, generation_prompt, options)

    def close(self) -> None:
        """End what is rendered now, and render nothing more."""
        for renderer in self._renderers:
            renderer.close()


class _Template:
    """One template, and the message formats found for the shapes of conversation it was given."""

    def __init__(self, apply: Apply, text: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._apply = apply
        self._clock = clock
        self._text = text
        self._format = MessageFormat.of(text)
        self._reasoning_known = False
        self._shapes: OrderedDict[Any, MessageFormat | TemplateError] = OrderedDict()
        self._exceeded: tuple[float, TemplateLimit] | None = None
        self._lock = threading.Lock()
        self._searching = threading.Lock()

    def render(
        self, messages: Sequence[Message], tools: Sequence[Tool], generation_prompt: bool, options: Mapping[str, Any]
    ) -> str:
        form = self._format_for(messages, bool(tools), shortened(options))
        try:
            text = self._write(form, messages, tools, generation_prompt, options)
            text.encode()  # no tokenizer reads half a character
            return text
        except OutputLimit as error:
            raise InvalidOption("messages", f"too long for the model's chat template: {error}") from error
        except TemplateLimit as error:
            raise _limit_error(error) from error
        except ProcessNotStarted:
            raise
        except Exception as error:
            raise _rejection(error) from error

    def _write(
        self,
        form: MessageFormat,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        generation_prompt: bool,
        options: Mapping[str, Any],
    ) -> str:
        variables: dict[str, Any] = {"documents": None, **options}
        variables["messages"] = form.write(messages)
        variables["tools"] = [describe(tool) for tool in tools] or None
        variables["add_generation_prompt"] = generation_prompt
        return self._apply(variables)

    def _format_for(self, messages: Sequence[Message], with_tools: bool, options: Mapping[str, Any]) -> MessageFormat:
        """Return the format in which the template shows every piece of a conversation of this shape.

        `options` are shortened. If the template exceeds a limit without any, in one form, it is not tried again for a
        minute.
        """
        probe = Probe.of(messages)
        given = json.dumps(options, sort_keys=True, default=str).encode("utf-8", "replace")
        shape = (probe.messages, with_tools, hashlib.sha256(given).digest())
        found = self._known(shape)
        if found is None:
            began = self._clock()
            reasons = any(message.reasoning for message in messages)
            tools = (_PROBE_TOOL,) if with_tools else ()
            try:
                if not reasons or self._reasoning_known:
                    found = self._as_before(probe, tools, options)
                if found is None:
                    left = TIME_LIMIT - self._time_since(began)
                    with self._searching:  # many alternatives, tried by one thread: it holds one process
                        found = self._known(shape)
                        if found is None and reasons:
                            self._find_reasoning(options)
                        found = found or self._search(probe, tools, options, left)
            except TemplateLimit as error:
                if not options and not error.reduced and not isinstance(error, OutputLimit | _SearchLimit):
                    self._exceeded = (self._clock(), error)
                raise _limit_error(error) from error
            self._keep(shape, found)
        if isinstance(found, TemplateError):
            raise TemplateError(*found.args, **found.details)
        return found

    def _known(self, shape: Any) -> MessageFormat | TemplateError | None:
        """Return what was found for a shape. Raises `TemplateLimitExceeded` if the template did within a minute."""
        with self._lock:
            if self._exceeded is not None and self._clock() - self._exceeded[0] < EXCEEDED_SECONDS:
                raise _limit_error(self._exceeded[1])
            found = self._shapes.get(shape)
            if found is not None:
                self._shapes.move_to_end(shape)
            return found

    def _keep(self, shape: Any, found: MessageFormat | TemplateError) -> None:
        with self._lock:
            self._shapes[shape] = found
            if len(self._shapes) > _SHAPES:
                self._shapes.popitem(last=False)

    def _as_before(self, probe: Probe, tools: Sequence[Tool], options: Mapping[str, Any]) -> MessageFormat | None:
        """Return the format that served before if it shows everything: most conversations need no search, and so do not
        wait for those that do."""
        form = self._format
        try:
            text = self._write(form, probe.messages, tools, True, options)
        except (TemplateLimit, ProcessNotStarted):
            raise
        except Exception:
            return None
        sound = not any(probe.missing(text)) and not probe.is_garbled(text, self._text)
        return form if sound else None

    def _time_since(self, began: float) -> float:
        """Return how many seconds a rendering that `began` then counts for."""
        return min(self._clock() - began, _LONGEST_RENDERING)

    def _search(
        self, probe: Probe, tools: Sequence[Tool], options: Mapping[str, Any], left: float
    ) -> MessageFormat | TemplateError:
        """Return a format that shows everything, or what is wrong; `left` seconds are left for it."""
        first: TemplateError | None = None
        passable: MessageFormat | None = None
        for index, form in enumerate(self._format.alternatives(probe.messages)):
            if left <= 0:  # for all alternatives together
                raise _SearchLimit(f"it takes more than {TIME_LIMIT:g} s")
            began = self._clock()
            try:
                text = self._write(form, probe.messages, tools, True, options)
            except (TemplateLimit, ProcessNotStarted):
                raise
            except Exception as error:  # a template is a program of the model's author: it may raise anything
                first = first or _rejection(error)
                continue
            finally:
                left -= self._time_since(began)
            missing = list(probe.missing(text))
            if missing:
                first = first or _incomplete(missing)
            elif not probe.is_garbled(text, self._text):
                if index:
                    _LOGGER.debug("chat template: messages are written as %s", form)
                    self._format = replace(self._format, part_roles=form.part_roles)
                return form
            else:
                passable = passable or form
        return passable or first or _incomplete(["the conversation"])

    def _find_reasoning(self, options: Mapping[str, Any]) -> None:
        """Set the place from which the template reads reasoning, if there is one."""
        if self._reasoning_known:
            return
        for form in self._format.reasoning_alternatives():
            for messages in REASONING_PROBES:
                try:
                    text = self._write(form, messages, (), False, options)
                except (TemplateLimit, ProcessNotStarted):
                    raise
                except Exception:
                    continue
                if REASONING in text and "'thinking'" not in text:
                    self._format = form
                    self._reasoning_known = True
                    return
        self._reasoning_known = True
        _LOGGER.debug("chat template: it has no place for the reasoning of earlier answers")


def _rejection(error: Exception) -> TemplateError:
    return TemplateError(f"The model's chat template refuses the conversation: {str(error).rstrip('.')}.")


def _limit_error(error: TemplateLimit) -> TemplateLimitExceeded:
    return TemplateLimitExceeded(f"The model's chat template exceeds a limit: {error}.")


def _incomplete(missing: Sequence[str]) -> TemplateError:
    return TemplateError(f"The model's chat template leaves out {', '.join(missing)}.", missing=list(missing))
