"""Which tokenizers are trusted to run in the server's own process: the small and simple ones.

Reading a tokenizer keeps the interpreter locked, for seconds where the vocabulary is large, and using one can take any
time and memory: a regular expression backtracks, a replacement multiplies a text. A tokenizer that can do neither by
what its files say is read here, in a tenth of a second; any other one in a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from mlxk_core.api.errors import BrokenModel
from mlxk_core.api.models import Model, count_values, open_file, read_small_file, regular_file

_MAX_FILE = 4 << 20  # bytes; 50,000 tokens with their merges take 2 MB, and 0.25 s
_MAX_FILES = 8 << 20
_MAX_VALUES = 200_000  # 50,000 tokens with their merges have 150,000
_MAX_WORDS = 1 << 16  # of a vocabulary; these take 0.2 s
_LARGEST_FILE = 64 << 20  # bytes; the largest published tokenizer.json has 35 MB
_MOST_VALUES = 8_000_000  # those of 260,000 tokens and 520,000 merges are two million
_CHUNK = 1 << 20
_MAX_ADDED = 8192
_LONGEST_ADDED = 1024  # characters
_MAX_ADDED_BYTES = 1 << 14  # of all in a file; each takes 4 us, with the interpreter locked, and there are four files
_LONGEST_WORD = 200  # characters; the time for each grows with them
_LONGEST_UNIGRAM = 128  # characters
_MAX_UNIGRAM_BYTES = 1 << 15  # of all pieces; each byte may take 330, those of T5's vocabulary are 300,000
_LONGEST_AFFIX = 64  # characters, which are put to each piece of a word that is looked up
_MAX_STEPS = 8  # of each part; those of published tokenizers have four
_MAX_REPLACED = 3  # steps that replace a text in a normalizer, each of which takes half a microsecond for a letter
_MAX_GROWTH = 8
_MAX_SPLIT_GROWTH = 4  # of a text that is split: it is not measured before the text is tokenized
_MAX_REST = 1 << 14
"""Characters of all but the vocabulary. The tokenizers library reads the steps of a sequence once for each sequence
around them, with the interpreter locked; those of published ones take 2,000."""
_MAX_POST_PROCESSOR = 1 << 13
_MOST_SPECIAL = 64  # tokens that are put around a text
_READ_BY_TRANSFORMERS = frozenset({".json", ".txt", ".jinja", ".model"})
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_CLASSES = frozenset({
    "BertTokenizer", "CodeGenTokenizer", "DistilBertTokenizer", "GPT2Tokenizer", "GPTNeoXTokenizer", "GemmaTokenizer",
    "LlamaTokenizer", "PreTrainedTokenizer", "Qwen2Tokenizer", "TokenizersBackend",
})  # fmt: skip
"""Classes of transformers, without "Fast" at the end, that read tokenizer.json only and make nothing of a number in the
settings. Others read any file of the folder, or list as many tokens as a setting says."""
_OTHER_SOURCES = frozenset({"fast_tokenizer_files", "gguf_file", "init_inputs", "merges", "tokenizer_object", "vocab"})
"""Settings that replace what tokenizer.json has."""
_LISTS_OF_TOKENS = frozenset({"additional_special_tokens", "extra_special_tokens"})

_NORMALIZERS = frozenset({
    "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer", "Strip", "Nmt", "ByteLevel", "Prepend",
    "Replace",
})  # fmt: skip
_PRE_TOKENIZERS = frozenset({
    "ByteLevel", "Whitespace", "WhitespaceSplit", "BertPreTokenizer", "Metaspace", "Punctuation", "Digits",
    "CharDelimiterSplit", "UnicodeScripts", "Split",
})  # fmt: skip
_POST_PROCESSORS = frozenset({"ByteLevel", "BertProcessing", "RobertaProcessing", "TemplateProcessing"})
_DECODERS = frozenset({
    "ByteLevel", "WordPiece", "Metaspace", "BPEDecoder", "CTC", "ByteFallback", "Fuse", "Strip", "Replace",
})  # fmt: skip
_MODEL_KEYS = frozenset({
    "type", "vocab", "merges", "unk_token", "unk_id", "dropout", "continuing_subword_prefix", "end_of_word_suffix",
    "fuse_unk", "byte_fallback", "ignore_merges", "max_input_chars_per_word",
})  # fmt: skip
_ADDED_KEYS = frozenset({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"})
_PARTS = {
    "normalizer": ("normalizers", _NORMALIZERS),
    "pre_tokenizer": ("pretokenizers", _PRE_TOKENIZERS),
    "post_processor": ("processors", _POST_PROCESSORS),
    "decoder": ("decoders", _DECODERS),
}
"""For each part of a tokenizer: the key of a sequence's steps, and the types that are plain."""


def plain_files(model: Model) -> Mapping[str, bytes] | None:
    """Return the files of a tokenizer that is read quickly and takes linear time and memory, by name, as they were
    checked; None for any other tokenizer.

    Raises `BrokenModel` for a tokenizer.json that is not JSON.
    """
    sizes = {
        file.name: file.size
        for file in model.files
        if PurePosixPath(file.name).suffix in _READ_BY_TRANSFORMERS and not file.name.endswith(".index.json")
    }
    if not 0 < sizes.get("tokenizer.json", 0) <= _MAX_FILE or sum(sizes.values()) > _MAX_FILES:
        return None
    if "tekken.json" in sizes:  # transformers may prefer it
        return None
    try:
        files = {name: _read(model, name) for name in ("tokenizer.json", *_SETTINGS) if name in sizes}
        settings = {name: _parsed(files[name]) for name in _SETTINGS if name in files}
        if not all(map(_lists_few_tokens, settings.values())) or not _is_plain_class(model, settings):
            return None
        return files if _is_plain(_parsed(files["tokenizer.json"])) else None
    except (_NotPlain, RecursionError):
        return None
    except (OSError, ValueError) as error:
        raise BrokenModel(f"The tokenizer of `{model.name}` cannot be read: {error}", model=model.name) from error


def check_size(model: Model) -> None:
    """Raise `BrokenModel` for tokenizer files beyond any real one: reading them would take a process a minute."""
    for name in ("tokenizer.json", *_SETTINGS, "vocab.json", "merges.txt", "vocab.txt", "tekken.json"):
        try:
            if size_and_values := _too_large(model, name):
                raise BrokenModel(f"{name} of `{model.name}` has a wrong size: {size_and_values}.", model=model.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BrokenModel(f"{name} of `{model.name}` cannot be read: {error}", model=model.name) from error


def _too_large(model: Model, name: str) -> str | None:
    path = regular_file(model.path / name)
    if (size := path.stat().st_size) > _LARGEST_FILE:
        return f"{size:,} bytes, at most {_LARGEST_FILE:,}"
    if not size:
        return "0 bytes"
    values = 0
    with open_file(path) as file:
        while chunk := file.read(_CHUNK):  # the interpreter is not locked for longer than a chunk takes
            values += count_values(chunk)
    return f"about {values:,} values, at most {_MOST_VALUES:,}" if values > _MOST_VALUES else None


class _NotPlain(Exception):
    """A file is not parsed in this process, or does not say the same to every parser."""


def _read(model: Model, name: str) -> bytes:
    if regular_file(model.path / name).stat().st_size > _MAX_FILE:
        raise _NotPlain
    data = read_small_file(model.path / name, _MAX_FILE)
    if count_values(data) > _MAX_VALUES:
        raise _NotPlain
    return data


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data, object_pairs_hook=_unique)
    except RecursionError:
        raise _NotPlain from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Of a key that comes twice, tokenizers may take the other value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _NotPlain
    return found


def _is_plain_class(model: Model, settings: Mapping[str, Any]) -> bool:
    """Return whether transformers makes the tokenizer of tokenizer.json alone."""
    config, special = settings.get("tokenizer_config.json", {}), settings.get("special_tokens_map.json", {})
    if not isinstance(config, Mapping) or not isinstance(special, Mapping) or config.keys() & _OTHER_SOURCES:
        return False
    if any(not key.endswith("_token") and key not in _LISTS_OF_TOKENS for key in special):
        return False
    named = config.get("tokenizer_class") or model.config.get("tokenizer_class") or "TokenizersBackend"
    return isinstance(named, str) and named.removesuffix("Fast") in _CLASSES


def _is_plain(tokenizer: Any) -> bool:
    if not isinstance(tokenizer, Mapping):
        return False
    added = tokenizer.get("added_tokens")
    if _bytes(added) > _MAX_ADDED_BYTES:
        return False
    for token in added if isinstance(added, list) else ():
        if not isinstance(token, Mapping) or not token.keys() <= _ADDED_KEYS:
            return False
        content = token.get("content")
        if not isinstance(content, str) or not 0 < len(content) <= _LONGEST_ADDED:
            return False
    if isinstance(added, list) and len(added) > _MAX_ADDED:
        return False
    if len(json.dumps(_without_vocabulary(tokenizer))) > _MAX_REST:
        return False
    post_processor = tokenizer.get("post_processor")
    if post_processor is not None and len(json.dumps(post_processor)) > _MAX_POST_PROCESSOR:
        return False
    if not all(map(_is_plain_template, _steps(post_processor, "processors"))):
        return False
    parts = all(_is_plain_part(tokenizer.get(name), *kinds) for name, kinds in _PARTS.items())
    return parts and _is_plain_model(tokenizer.get("model"))


def _without_vocabulary(tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in tokenizer.items() if key != "added_tokens"}
    if isinstance(model := tokenizer.get("model"), Mapping):
        rest["model"] = {key: value for key, value in model.items() if key not in ("vocab", "merges")}
    return rest


def _is_plain_part(part: Any, key: str, plain: frozenset[str]) -> bool:
    growth, replaced = 1.0, 0
    for count, step in enumerate(_steps(part, key)):
        if count >= _MAX_STEPS or step.get("type") not in plain:
            return False
        replaced += step["type"] == "Replace"
        match step:
            case {"type": "Split", "pattern": pattern}:
                if not _text(pattern):
                    return False
            case {"type": "Replace", "pattern": pattern, "content": str(content)}:
                if not (old := _text(pattern)):
                    return False
                growth *= max(1.0, len(content.encode()) / len(old.encode()))
            case {"type": "Prepend", "prepend": str(prefix)}:
                growth *= max(1, len(prefix.encode()) / 4)
            case {"type": "ByteLevel"}:
                growth *= 2  # a letter of two bytes for each byte, also for those of such letters
            case {"type": "Metaspace"}:
                growth *= 4  # before each piece, which may have one byte
            case {"type": "BPEDecoder", "suffix": str(mark)} | {"type": "CTC", "word_delimiter_token": str(mark)}:
                if not mark:  # it would be replaced between all characters
                    return False
            case {"type": "Split" | "Replace" | "Prepend" | "BPEDecoder" | "CTC"}:
                return False
    if key == "normalizers" and replaced > _MAX_REPLACED:
        return False
    return growth <= (_MAX_SPLIT_GROWTH if key == "pretokenizers" else _MAX_GROWTH)


def _is_plain_template(step: Mapping[str, Any]) -> bool:
    """Return whether a step after tokenizing has each text once, and adds few tokens."""
    tokens = step.get("special_tokens", {})
    if not isinstance(tokens, Mapping):
        return False
    ids = [token.get("ids") for token in tokens.values() if isinstance(token, Mapping)]
    longest = max((len(each) for each in ids if isinstance(each, list)), default=0)
    for key, texts in (("single", 1), ("pair", 2)):
        pieces = step.get(key)
        if not isinstance(pieces, list):
            continue
        if sum(not _is_special(piece) for piece in pieces) > texts or len(pieces) * longest > _MOST_SPECIAL:
            return False
    return True


def _is_special(piece: Any) -> bool:
    return isinstance(piece, Mapping) and piece.keys() == {"SpecialToken"}


def _steps(part: Any, key: str) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a part, those of sequences one by one; an empty one for what is none."""
    if part is None:
        return
    if not isinstance(part, Mapping):
        yield {}
    elif part.get("type") == "Sequence" and isinstance(steps := part.get(key), list):
        for step in steps:
            yield from _steps(step, key)
    else:
        yield part


def _text(pattern: Any) -> str:
    """Return the text that a pattern stands for, "" if it is a regular expression."""
    text = pattern.get("String") if isinstance(pattern, Mapping) and len(pattern) == 1 else None
    return text if isinstance(text, str) else ""


def _is_plain_model(model: Any) -> bool:
    if not isinstance(model, Mapping) or not model.keys() <= _MODEL_KEYS:
        return False
    match model:
        case {"type": "BPE", "vocab": Mapping() as vocab, "merges": list()}:
            # With dropout each merge puts back those that were left out.
            return not model.get("dropout") and _affixes_are_short(model) and _are_few_and_short(vocab)
        case {"type": "WordLevel", "vocab": Mapping() as vocab}:
            return _are_few_and_short(vocab)
        case {"type": "WordPiece", "vocab": Mapping() as vocab, "max_input_chars_per_word": int(longest)}:
            return longest <= _LONGEST_WORD and _affixes_are_short(model) and _are_few_and_short(vocab)
        case {"type": "Unigram", "vocab": list(pieces)}:
            texts = [str(piece[0]) for piece in pieces if isinstance(piece, list) and piece]
            return (
                len(texts) == len(pieces)
                and all(len(text) <= _LONGEST_UNIGRAM for text in texts)
                and _bytes(texts) <= _MAX_UNIGRAM_BYTES
            )
    return False


def _are_few_and_short(tokens: Collection[str]) -> bool:
    return len(tokens) <= _MAX_WORDS and all(len(token) <= _LONGEST_ADDED for token in tokens)


def _affixes_are_short(model: Mapping[str, Any]) -> bool:
    affixes = (model.get("continuing_subword_prefix"), model.get("end_of_word_suffix"))
    return all(affix is None or (isinstance(affix, str) and len(affix) <= _LONGEST_AFFIX) for affix in affixes)


def _lists_few_tokens(settings: Any) -> bool:
    """Return whether the tokens that `settings` may add are few and short."""
    if not isinstance(settings, Mapping):
        return False
    values = [value for key, value in settings.items() if key != "chat_template"]
    return _longest(settings) <= _MAX_ADDED and _bytes(values) <= _MAX_ADDED_BYTES


def _longest(value: Any) -> int:
    """Return the length of the longest list or object in `value`."""
    return max((len(each) for each in _nested(value) if isinstance(each, list | Mapping)), default=0)


def _bytes(value: Any) -> int:
    """Return the bytes of all texts in `value`, in UTF-8."""
    return sum(len(each.encode("utf-8", "replace")) for each in _nested(value) if isinstance(each, str))


def _nested(value: Any) -> Iterator[Any]:
    """Yield `value` and all that is in its lists and objects."""
    waiting = [value]
    while waiting:
        yield (each := waiting.pop())
        if isinstance(each, list | Mapping):
            waiting.extend(each.values() if isinstance(each, Mapping) else each)
