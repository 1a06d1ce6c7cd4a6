import mlxk_digits
import pytest

from mlxk_core.api.errors import InvalidConstraint, InvalidOption
from mlxk_core.api.generation import Constraint, GenerationRequest, GenerationService
from mlxk_testing import assert_light
from mlxk_testing.fake_engine import fake_backend, fake_model


@pytest.fixture
def ask(host, tmp_path):
    host.register(mlxk_digits, name="digits")
    host.register(fake_backend("It is 42.", spec={"constraints": True}), name="fake")
    model = fake_model(tmp_path / "model")
    with GenerationService(host) as service:
        yield (
            lambda value: (
                service.submit(
                    GenerationRequest(
                        model=model,
                        prompt="How many?",
                        constraint=Constraint(kind="digits", value=value, option="digits"),
                    )
                )
                .result()
                .content
            )
        )


@pytest.mark.parametrize("count", [1, 4, 64])
def test_an_answer_has_so_many_digits(ask, count):
    answer = ask(count)
    assert len(answer) == count
    assert answer.isdecimal()


@pytest.mark.parametrize("value", [0, 65, "3", True, None, 1.5])
def test_another_value_is_an_error_before_the_load(ask, value):
    with pytest.raises(InvalidConstraint, match="from 1 to 64"):
        ask(value)


def test_a_backend_without_constraints_is_named(host, tmp_path):
    host.register(mlxk_digits, name="digits")
    host.register(fake_backend("Hi."), name="fake")
    request = GenerationRequest(
        model=fake_model(tmp_path / "model"), prompt="?", constraint=Constraint(kind="digits", value=2)
    )
    with GenerationService(host) as service, pytest.raises(InvalidOption, match="fake"):
        service.submit(request)


def test_it_is_light():
    assert_light("mlxk_digits")
