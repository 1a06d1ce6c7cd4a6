import mlxk_narrator

from mlxk_core.api.generation import GenerationRequest, GenerationService, Message
from mlxk_testing import assert_light
from mlxk_testing.fake_engine import fake_backend, fake_model


def answer(host, model):
    host.register(fake_backend("Exeunt.\nNarrator: They left.", kind="playwright"), name="fake")
    with GenerationService(host) as service:
        return service.submit(GenerationRequest(model=model, prompt=[Message(role="user", content="Go on.")])).result()


def test_an_answer_ends_before_the_narrator(host, tmp_path):
    host.register(mlxk_narrator, name="narrator")
    assert answer(host, fake_model(tmp_path / "play", kind="playwright")).content == "Exeunt."


def test_without_the_plugin_it_goes_on(host, tmp_path):
    assert "Narrator" in answer(host, fake_model(tmp_path / "play", kind="playwright")).content


def test_other_models_have_no_policy(host, tmp_path):
    host.register(mlxk_narrator, name="narrator")
    assert host.stop_policies(fake_model(tmp_path / "other")).stop_strings == ()


def test_it_is_light():
    assert_light("mlxk_narrator")
