"""A model that is run and not there: offered at a terminal, pulled from a hub over HTTP, and then it answers."""

import os
import sys

import pexpect
import pytest

from mlxk_testing.tiny_models import scripted_model


@pytest.fixture
def offered(hub, tmp_path):
    folder = tmp_path / "talker"
    scripted_model(folder, says="Pulled and alive.")
    hub.add("org/talker", {path.name: path.read_bytes() for path in folder.iterdir()})
    return "org/talker"


def spawn(*args):
    return pexpect.spawn(
        sys.executable,
        ["-m", "mlxk_core", *args],
        encoding="utf-8",
        timeout=180,
        dimensions=(24, 200),
        env=dict(os.environ),
    )


def test_yes_pulls_the_model_and_answers(offered):
    run = spawn("run", offered, "Hi")
    run.expect("Pull it?")
    run.sendline("y")
    run.expect("Pulled and alive.")
    run.expect(pexpect.EOF)
    run.wait()
    assert run.exitstatus == 0


def test_no_leaves_everything_as_it_was(offered, hub_cache):
    run = spawn("run", offered, "Hi")
    run.expect("Pull it?")
    run.sendline("n")
    run.expect("mlxk pull org/talker")
    run.expect(pexpect.EOF)
    run.wait()
    assert run.exitstatus == 1 and not list(hub_cache.glob("models--*"))


def test_ctrl_c_leaves_the_line_of_the_question(offered, hub_cache):
    run = spawn("run", offered, "Hi")
    run.expect("Pull it?")
    for _ in range(6):  # Python notices a signal just before it reads with the next one only
        run.sendintr()
        if run.expect(["\nmlxk run: ", pexpect.TIMEOUT], timeout=30) == 0:
            break
    run.expect(pexpect.EOF)
    run.wait()
    assert run.exitstatus == 130 and not list(hub_cache.glob("models--*"))


def test_the_address_of_a_model_is_its_name(mlxk, offered):
    assert mlxk("pull", f"hf.co/{offered}").code == 0
    for address in (f"hf.co/{offered}", f"https://huggingface.co/{offered}"):
        assert mlxk("show", address).code == 0


def test_nobody_is_asked_where_nobody_sits(mlxk, offered):
    result = mlxk("run", offered, "Hi")
    assert result.code == 1 and "mlxk pull org/talker" in result.stderr
