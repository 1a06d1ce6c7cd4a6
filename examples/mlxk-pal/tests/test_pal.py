import json

import mlxk_pal
import pytest
from mlxk_pal import setup

from mlxk_core.api.hooks import AgentEndpoint
from mlxk_testing import assert_light


@pytest.mark.parametrize(("context", "expected"), [(4096, 4096), (None, 8192)])
def test_it_is_told_where_the_model_is(context, expected):
    made = setup(AgentEndpoint(url="http://127.0.0.1:8000", model="toy", key="secret", context=context))
    assert json.loads(made.files["pal.json"]) == {
        "model": "toy",
        "baseUrl": "http://127.0.0.1:8000/v1",
        "contextWindow": expected,
    }
    assert made.variables == {"PAL_API_KEY": "secret"}
    assert made.arguments == ("--config", "{folder}/pal.json")


def test_it_is_offered(host):
    host.register(mlxk_pal, name="pal")
    [record] = host.plugins()
    assert record.provides == ("agent pal",)


def test_it_is_light():
    assert_light("mlxk_pal")
