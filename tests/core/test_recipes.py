"""The recipes of docs/plugins/recipes.md, which includes parts of this file."""

# ruff: noqa: E402

from __future__ import annotations

import pytest

from mlxk_core.api.errors import UnsupportedModel
from mlxk_testing.fake_engine import FakeEngine, fake_backend, fake_model


@pytest.fixture
def model(tmp_path):
    return fake_model(tmp_path / "model")


# --8<-- [start:events]
from mlxk_core.api.generation import (
    Channel,
    Delta,
    Finished,
    GenerationRequest,
    GenerationService,
    Loading,
    Message,
    Sampling,
    Started,
)


def ask(host, model, text):
    """Return the answer, its finish reason, and the tokens it took."""
    request = GenerationRequest(
        model=model,
        prompt=[Message(role="user", content=text)],
        sampling=Sampling(temperature=0),
        max_tokens=100,
    )
    answer = ""
    with GenerationService(host) as service, service.submit(request) as generation:
        for event in generation:
            match event:
                case Loading(model=name):
                    print(f"loading {name}")
                case Started(prompt_tokens=count):
                    print(f"{count} prompt tokens")
                case Delta(channel=Channel.CONTENT, text=piece):
                    answer += piece
                case Finished(reason=reason, usage=usage):
                    return answer, reason, usage.total_tokens
    raise AssertionError("a generation ends with Finished, or raises an MlxkError")


# --8<-- [end:events]


def test_events(host, model, capsys):
    host.register(fake_backend("Hello."), name="fake")
    answer, reason, tokens = ask(host, model, "Hi")
    assert (answer, reason) == ("Hello.", "stop")
    assert tokens == len("<user>Hi\n<assistant>") + len("Hello.") + 1
    assert "loading model\n" in capsys.readouterr().out


# --8<-- [start:tokenize]
def count_tokens(host, model, text):
    """Return the number of tokens of a text, and the first one as text."""
    with GenerationService(host) as service, service.tokenizer(model) as tokenizer:
        tokens = tokenizer.encode(text, add_special_tokens=False)
        return len(tokens), tokenizer.decode(tokens[:1])


# --8<-- [end:tokenize]


def test_tokenize(host, model):
    host.register(fake_backend(), name="fake")
    assert count_tokens(host, model, "one") == (3, "o")


# --8<-- [start:resolve]
from mlxk_core.api.models import Resolver, model_context_length


def named_model(host, name):
    """Return the model that a person typed, and its context length."""
    model = Resolver(host).resolve(name)  # ModelNotFound, AmbiguousModel, BrokenModel say what to do
    return model, model_context_length(model)


# --8<-- [end:resolve]


def test_resolve(host, model):
    host.register(fake_backend(), name="fake")
    found, length = named_model(host, str(model.path))
    assert (found.path, length) == (model.path, 4096)


# --8<-- [start:task]
def longest_word(host, model, texts):
    """Run work of another kind on the engine thread, a part between two steps."""
    with GenerationService(host) as service:
        tasks = [lambda engine, text=text: engine.longest_word(text) for text in texts]
        return list(service.run_tasks(model, tasks, needs="longest-word"))


# --8<-- [end:task]


def test_another_kind_of_job(host, model):
    class Engine(FakeEngine):
        def longest_word(self, text):
            return max(text.split(), key=len)

    backend = fake_backend(spec={"tasks": frozenset({"longest-word"})})
    load = backend.load
    backend.load = lambda model, context: Engine(load(model, context).script)
    host.register(backend, name="fake")
    assert longest_word(host, model, ["a word", "an elephant"]) == ["word", "elephant"]


def test_a_backend_without_that_kind_is_named_before_the_load(host, model):
    backend = fake_backend()
    host.register(backend, name="fake")
    with pytest.raises(UnsupportedModel, match="backend fake, which does not support longest-word"):
        longest_word(host, model, ["x"])
    assert backend.script.happened("load") == []
