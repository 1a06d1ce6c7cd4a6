"""The tokens with which a chat template opens a response, found while a model is loaded."""

from __future__ import annotations

from collections.abc import Callable

from mlxk_core.api.errors import Interrupted
from mlxk_core.api.generation import Message
from mlxk_mlx.engine.chat_template import ChatTemplate
from mlxk_mlx.engine.tokenizer import ModelTokenizer
from mlxk_mlx.loading.background_call import BackgroundCall

_LONGEST = 1 << 12  # characters


def generation_prompt_tokens(template: ChatTemplate, tokenizer: ModelTokenizer, alive: Callable[[], None]) -> list[int]:
    """Return the tokens with which `template` opens a response, empty if there are none, with calls of `alive`.

    If `alive` raises, the template is closed: the other thread ends soon, and holds nothing of the model's network.
    """
    # In another thread: a slow template or tokenizer would hold up the other models.
    call = BackgroundCall(lambda: _tokenize(template, tokenizer))
    try:
        tokens: list[int] = call.result(alive)
    except Interrupted:
        template.close()
        raise
    except Exception:  # without a template there is no generation prompt
        return []
    return tokens


def _tokenize(template: ChatTemplate, tokenizer: ModelTokenizer) -> list[int]:
    turn = [Message(role="user", content="x")]
    closed, opened = template.render(turn, generation_prompt=False), template.render(turn)
    if not opened.startswith(closed) or len(opened) - len(closed) > _LONGEST:
        return []
    return tokenizer.encode(opened[len(closed) :], add_special_tokens=False)
