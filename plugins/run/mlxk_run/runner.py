"""Requests to the model of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlxk_core.api.commands import Session
from mlxk_core.api.errors import MlxkError
from mlxk_core.api.generation import GenerationRequest, GenerationService, Message, thinking_options
from mlxk_core.api.hooks import SAMPLING_OPTIONS
from mlxk_core.api.models import Model, model_context_length
from mlxk_run.display import Answer, Display
from mlxk_run.log import Log
from mlxk_run.options import AnswerOptions
from mlxk_run.sampling import sampling_for
from mlxk_run.spinner import Spinner


@dataclass
class Runner:
    """Runs requests on one model and shows their answers."""

    session: Session
    service: GenerationService
    model: Model
    display: Display
    log: Log

    def open(self, options: AnswerOptions) -> None:
        """Load the model. A model that cannot run is an error of the command, not of every turn of a chat."""
        self.session.host.reasoning_format(self.model, options.reasoning_format)
        spinner = Spinner(self.session.output, on=not self.display.view.quiet)
        try:
            self.service.preload(
                self.model, backend=options.backend, waiting=lambda: spinner.show(f"Loading {self.model.name} …")
            )
        finally:
            spinner.clear()
        self.log.print(self.session.output)

    def _applied_sampling(self, backend: str | None) -> frozenset[str]:
        """Return the fields of `Sampling` that the backend applies; all where none runs the model, which is reported
        when the request is submitted, with what is wrong with its files."""
        try:
            return self.session.host.backend_for(self.model, backend or self.model.settings.backend).sampling
        except MlxkError:
            return SAMPLING_OPTIONS

    def answer(self, prompt: Sequence[Message] | str, options: AnswerOptions, *, room: int = 0) -> Answer:
        """Show the answer to a conversation or a raw prompt, and return it.

        Raises `NoRoom` if fewer than `room` tokens of the context are left for the answer.
        """
        request = GenerationRequest(
            model=self.model,
            prompt=prompt,
            sampling=sampling_for(self.model, options.sampling, self._applied_sampling(options.backend)),
            max_tokens=options.max_tokens,
            stop=options.stop,
            chat_stops=options.chat_stops,
            reasoning_format=options.reasoning_format,
            backend=options.backend,
            constraint=options.constraint,
            thinking_budget=options.thinking_budget,
            template_options=({} if options.thinking is None else thinking_options(options.thinking)),
        )
        answer = self.display.show(self.service.submit(request), loop_guard=options.loop_guard, room=room)
        self.log.print(self.session.output)
        return answer

    @property
    def reference(self) -> str:
        """The reference of the model for a later command line: its path or its name, with the GGUF variant."""
        model = self.model
        if model.origin == "path":
            return str(model.path)
        return f"{model.name}:{model.variant}" if model.variant else model.name

    @property
    def context_length(self) -> int | None:
        """The model's context in tokens; None if its files do not say."""
        return model_context_length(self.model)
