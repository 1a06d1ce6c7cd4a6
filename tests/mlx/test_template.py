"""What a chat template that cannot be used is told as."""

import pytest

from mlxk_core._errors import TemplateError
from mlxk_core.api import Message
from mlxk_mlx.engine.template import ChatTemplate


@pytest.mark.parametrize("said", ["No system role", "No system role."])
def test_what_a_template_refuses_is_told_as_a_sentence(said):
    def refuse(*args, **options):
        raise ValueError(said)

    with pytest.raises(TemplateError, match=r"refuses the conversation: No system role\.$"):
        ChatTemplate(refuse, "{{ messages }}").render([Message(role="user", content="Hi")])
