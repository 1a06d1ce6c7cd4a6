"""The tokenizer files of a model, read by transformers. Imports no MLX: a child process uses it as well."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from mlxk_core.api.errors import BrokenModel, MlxkError, raise_system_limit
from mlxk_core.api.models import Model, regular_file

_OTHER_TOKENIZERS = {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "tekken.json"}
_LONGEST_REASON = 200
_MAX_SPECIAL = 1 << 15
"""Special tokens of one list. transformers compares each with each: these take 15 s, 65,536 a minute."""

_LONGEST_SPECIAL = 1 << 10


def read_tokenizer(model: Model) -> Any:
    """Return the transformers tokenizer in the folder of `model`, without running code from it. Raises `BrokenModel`.

    It can take any time and memory: regular expressions backtrack, a replacement multiplies a text, and a vocabulary of
    any size keeps the interpreter locked while it is read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = model.path
    whole = (folder / "tokenizer.json").is_file()
    try:
        if not whole and not any(file.name in _OTHER_TOKENIZERS for file in model.files):
            raise BrokenModel(f"`{model.name}` has no tokenizer: tokenizer.json is missing.", model=model.name)
        _check_special_tokens(model)
        config = {"config": _config(model)} if whole else {}
        try:
            return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **config)
        except Exception:
            if not whole:
                raise
            # The tokenizer class is unknown, or code in the repository; tokenizer.json works without it.
            return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    except MlxkError:
        raise
    except Exception as error:
        raise_system_limit(error)
        raise BrokenModel(
            f"The tokenizer of `{model.name}` cannot be read: {_brief(error)}", model=model.name
        ) from error


def _config(model: Model) -> SimpleNamespace:
    """Return what transformers needs of the config to choose a class. It would read all of it, or another file that it
    names, and make lists as long as its numbers say."""
    texts = {key: model.config.get(key) for key in ("model_type", "model_name", "tokenizer_class", "_name_or_path")}
    return SimpleNamespace(**{key: text if isinstance(text, str) else None for key, text in texts.items()})


def _check_special_tokens(model: Model) -> None:
    """Raise `BrokenModel` for a list of special tokens that takes transformers minutes, or one of any length: the
    tokenizer is built with it, and each rendered conversation is given it."""
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        try:
            settings = json.loads(regular_file(model.path / name).read_bytes())
        except FileNotFoundError:
            continue
        for key, value in settings.items() if isinstance(settings, dict) else ():
            text = value.get("content") if isinstance(value, dict) else value
            if key.endswith("_token") and isinstance(text, str) and len(text) > _LONGEST_SPECIAL:
                raise BrokenModel(
                    f"{name} of `{model.name}` has {len(text):,} characters of {key[:40]} "
                    f"(at most {_LONGEST_SPECIAL:,}).",
                    model=model.name,
                )
        for key in ("additional_special_tokens", "extra_special_tokens"):
            tokens = settings.get(key) if isinstance(settings, dict) else None
            if isinstance(tokens, list | dict) and len(tokens) > _MAX_SPECIAL:
                raise BrokenModel(
                    f"{name} of `{model.name}` has {len(tokens):,} {key} (at most {_MAX_SPECIAL:,}).", model=model.name
                )


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())[:_LONGEST_REASON]
    return f"{type(error).__name__}: {text}" if isinstance(error, LookupError) or not text else text
