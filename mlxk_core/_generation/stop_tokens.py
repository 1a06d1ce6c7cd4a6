"""Stop tokens of a model."""

from __future__ import annotations

from mlxk_core._errors import TemplateError
from mlxk_core._generation.engine import Engine, Render
from mlxk_core._generation.jobs import Resident
from mlxk_core._generation.request import Message
from mlxk_core._host.specs import StopPolicy
from mlxk_core._models.model import AddedToken, Model

CHAT_STOP_STRINGS = ("\nHuman:", "\nAssistant:", "\nUser:", "\nYou:")
"""Texts that a chat model writes when it continues with the user's turn. They end answers in chats only."""


def stop_tokens(resident: Resident, policy: StopPolicy) -> frozenset[int]:
    """Return the ids that end a response: the model's, its turn terminator and the policy's, without those it keeps.

    Computed once per load; the policy of a model must not change while it is loaded. From any thread.
    """
    if resident.stop_tokens is None:
        resident.stop_tokens = _stop_tokens(resident.engine, resident.model, policy)
    return resident.stop_tokens


def _stop_tokens(engine: Engine, model: Model, policy: StopPolicy) -> frozenset[int]:
    named = {engine.tokenizer.token_id(text) for text in policy.stop_tokens}
    kept = {engine.tokenizer.token_id(text) for text in policy.keep_tokens}
    found = set(engine.native_stops) | named
    terminator = turn_terminator(engine.render, model)
    if terminator is not None:
        found.add(engine.tokenizer.token_id(terminator.text))
    return frozenset(token for token in found - kept if token is not None)


_ANSWER, _THOUGHT = "mlxk answers 42", "mlxk thinks 41"


def turn_terminator(render: Render, model: Model) -> AddedToken | None:
    """Return the special token that the model's template writes after an assistant turn; None if there is none.

    Config files are often wrong about it (mlx-vlm #2112), the template is not. A token that also occurs inside a turn
    does not end it: Kimi-K3 closes its think block with the same token.
    """
    turns = (Message(role="user", content="mlxk asks"), Message(role="assistant", content=_ANSWER, reasoning=_THOUGHT))
    try:
        text = render(turns, generation_prompt=False)
    except TemplateError:
        return None
    before, answer, after = text.rpartition(_ANSWER)
    if not answer:
        return None
    after = after.lstrip()
    specials = (t for t in model.added_tokens.values() if t.special and after.startswith(t.text))
    token = max(specials, key=lambda t: len(t.text), default=None)
    if token is None or (token.text in before.rpartition(_THOUGHT)[2] and _THOUGHT in before):
        return None
    return token
