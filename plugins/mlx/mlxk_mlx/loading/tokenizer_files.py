"""The tokenizer files of a model, read by transformers. Imports no MLX: a child process uses it as well."""

from __future__ import annotations

from typing import Any

from mlxk_core.api.errors import BrokenModel, MlxkError
from mlxk_core.api.models import Model

_OTHER_TOKENIZERS = {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "tekken.json"}
_LONGEST_REASON = 200


def read_tokenizer(model: Model) -> Any:
    """Return the transformers tokenizer in the folder of `model`, without running code from it. Raises `BrokenModel`.

    It can take any time and memory: see `mlxk_mlx.loading.tokenizer_trust`.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = str(model.path)
    whole = (model.path / "tokenizer.json").is_file()
    try:
        if not whole and not any(file.name in _OTHER_TOKENIZERS for file in model.files):
            raise BrokenModel(f"`{model.name}` has no tokenizer: tokenizer.json is missing.", model=model.name)
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception:
            if not whole:
                raise
            # The tokenizer class is unknown, or code in the repository; tokenizer.json works without it.
            return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except MlxkError:
        raise
    except Exception as error:
        raise BrokenModel(
            f"The tokenizer of `{model.name}` cannot be read: {_brief(error)}", model=model.name
        ) from error


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())[:_LONGEST_REASON]
    return f"{type(error).__name__}: {text}" if isinstance(error, LookupError) or not text else text
