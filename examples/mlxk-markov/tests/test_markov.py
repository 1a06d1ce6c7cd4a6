import mlxk_markov
import pytest
from mlxk_markov import SPEC, train

from mlxk_core.api.errors import BrokenModel, InvalidOption
from mlxk_core.api.generation import GenerationRequest, GenerationService, Message, Sampling
from mlxk_core.api.models import Model
from mlxk_testing import assert_light, check_engine

TEXT = "the cat sat on the mat and the dog sat on the log while the rain ran on and on and on. " * 3


@pytest.fixture
def model(tmp_path):
    return Model(name="chain", path=train(TEXT, tmp_path / "chain"))


# --8<-- [start:contract]
def test_the_engine_does_what_it_claims(model):
    check_engine(SPEC, model)


# --8<-- [end:contract]


def test_an_answer(host, model):
    host.register(mlxk_markov, name="markov")
    with GenerationService(host) as service:
        request = GenerationRequest(
            model=model, prompt=[Message(role="user", content="th")], max_tokens=12, sampling=Sampling(temperature=0)
        )
        completion = service.submit(request).result()
    assert completion.usage.completion_tokens == 12
    assert set(completion.content) <= set(TEXT)


def test_what_it_does_not_have_is_an_error_before_the_load(host, model):
    host.register(mlxk_markov, name="markov")
    with GenerationService(host) as service:
        for sampling in (Sampling(top_p=0.5), Sampling(logit_bias={1: 1.0}), Sampling(logprobs=2)):
            with pytest.raises(InvalidOption, match="markov does not support it"):
                service.submit(GenerationRequest(model=model, prompt="x", sampling=sampling))
        assert service.status().counters.loads == 0


def test_a_damaged_model_is_named(host, model):
    host.register(mlxk_markov, name="markov")
    (model.path / "markov.json").write_text("{")
    with GenerationService(host) as service, pytest.raises(BrokenModel, match=r"markov\.json"):
        service.submit(GenerationRequest(model=model, prompt="x")).result()


def test_it_is_light():
    assert_light("mlxk_markov")
