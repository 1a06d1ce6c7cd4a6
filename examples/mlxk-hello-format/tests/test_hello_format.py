from mlxk_hello_format import MuseExtractor, matches

from mlxk_core.api import Strength
from mlxk_core.api.models import Model
from mlxk_testing import assert_format, assert_light


# --8<-- [start:contract]
def test_muse():
    assert_format(MuseExtractor, "⟦muse⟧", "⟦/muse⟧")


# --8<-- [end:contract]


def test_it_claims_its_own_models_only(tmp_path):
    model = Model(name="m", path=tmp_path)
    assert matches(model) is None
    (tmp_path / "chat_template.jinja").write_text("⟦muse⟧")
    assert matches(Model(name="m", path=tmp_path)).strength is Strength.TEMPLATE


def test_it_is_light():
    assert_light("mlxk_hello_format")
