"""A plugin with a fault changes no unrelated command, and is named with distribution, version, file and line."""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass
from textwrap import dedent

import pytest

from mlxk_core._check.extension_recorder import Claims, additions
from mlxk_core.api.errors import EngineFailure, InvalidOption, MlxkError
from mlxk_core.api.generation import (
    Constraint,
    GenerationRequest,
    GenerationService,
    Message,
    Sampling,
    Tool,
    ToolCall,
)
from mlxk_core.api.models import Resolver
from mlxk_testing.fake_engine import fake_backend, fake_model

BACKEND = """
from mlxk_testing.fake_engine import FakeDetokenizer, FakeEngine, FakeTokenizer, Script

@hookimpl
def mlxk_backends():
    yield BackendSpec(name="faulty", summary="", accepts=lambda model: Verdict.yes(), target=load)
"""
ENGINE = (
    BACKEND
    + """
def load(model, context):
    return Faulty(Script(answer=lambda prompt: "Hello."))
"""
)
TOKENIZER = (
    BACKEND
    + """
def load(model, context):
    engine = FakeEngine(Script(answer=lambda prompt: "Hello."))
    engine.tokenizer = Faulty()
    return engine
"""
)
FORMAT = """
@hookimpl
def mlxk_reasoning_extractors():
    yield ReasoningExtractorSpec(name="faulty", summary="", matches=matches, target=Faulty)

def matches(model):
    return Evidence(Strength.TEMPLATE, "always")
"""
CONSTRAINT = """
@hookimpl
def mlxk_constraints():
    yield ConstraintSpec(kind="faulty", target=Compiler)
"""
SETTINGS = """
from dataclasses import dataclass
from mlxk_core.api.settings import setting

@hookimpl  # here
def mlxk_settings():
    yield SettingsSection(name="faulty", summary="", type=Faulty)
"""
LIFECYCLE = """
@hookimpl
def mlxk_lifecycle():
    yield LifecycleListener(name="faulty", {}=listen)

def listen(event):
    1 / 0  # here
"""


@dataclass(frozen=True)
class Fault:
    """A plugin and how its fault shows. The line that ends in `# here` is the one to be named."""

    source: str
    by: str = "plugins"
    """What meets it: `plugins` lists them, `ask` runs a request, `constrain` one with a constraint, `find` looks up a
    model, `extend` starts a server's extensions, `command` runs `mlxk faulty`,
    `json` runs it with `--json`."""


FAULTS = {
    "import": Fault("import json\njson.loads('{')  # here"),
    "import-of-its-own": Fault("from mlxk_core.api import Nothing  # here"),
    "exit at import": Fault("import sys\nsys.exit(3)  # here"),
    "os._exit at import": Fault("import os\nos._exit(3)  # here"),
    "interrupt at import": Fault("raise KeyboardInterrupt  # here"),
    "unknown hook": Fault("@hookimpl  # here\ndef mlxk_nothing(): ..."),
    "unmarked hook": Fault("def mlxk_commands(): ...  # here"),
    "unknown argument": Fault("@hookimpl  # here\ndef mlxk_commands(nonsense): ..."),
    "hook raises": Fault("@hookimpl\ndef mlxk_commands():\n    1 / 0  # here"),
    "hook returns a number": Fault("@hookimpl  # here\ndef mlxk_commands():\n    return 7"),
    "hook returns dicts": Fault("@hookimpl  # here\ndef mlxk_backends():\n    return [{'name': 'x'}]"),
    "description of a wrong type": Fault(
        "@hookimpl  # here\ndef mlxk_commands():\n    yield CommandSpec(name=3, summary='', target='json:dumps')"
    ),
    "description with a wrong field": Fault("@hookimpl\ndef mlxk_commands():\n    yield CommandSpec(nme='x')  # here"),
    "requires raises": Fault(
        """
        @hookimpl
        def mlxk_commands():
            yield CommandSpec(name="x", summary="", target="json:dumps", requires=lambda: 1 / 0)  # here
        """
    ),
    "command raises": Fault(
        """
        @hookimpl
        def mlxk_commands():
            yield CommandSpec(name="faulty", summary="", target=faulty)

        @click.command("faulty")
        def faulty():
            1 / 0  # here
        """,
        by="command",
    ),
    "command returns what is not JSON": Fault(
        """
        from mlxk_core.api.commands import json_option

        @hookimpl
        def mlxk_commands():
            yield CommandSpec(name="faulty", summary="", target=faulty)

        @click.command("faulty")  # here
        @json_option
        def faulty():
            return {"value": object()}
        """,
        by="json",
    ),
    "command returns what is nested too deeply": Fault(
        """
        from functools import reduce
        from mlxk_core.api.commands import json_option

        @hookimpl
        def mlxk_commands():
            yield CommandSpec(name="faulty", summary="", target=faulty)

        @click.command("faulty")  # here
        @json_option
        def faulty():
            return reduce(lambda value, _: [value], range(100_000), None)
        """,
        by="json",
    ),
    "agents raise": Fault("@hookimpl\ndef mlxk_agents():\n    raise OSError('disk')  # here"),
    "settings section raises": Fault("@hookimpl\ndef mlxk_settings():\n    raise OSError('disk')  # here"),
    "settings section is a dict": Fault(
        "@hookimpl  # here\ndef mlxk_settings():\n    yield SettingsSection(name='x', summary='', type=dict)"
    ),
    "settings section is a plain class": Fault(SETTINGS + "class Faulty:\n    port: int = 4"),
    "settings section can change": Fault(
        SETTINGS + "@dataclass\nclass Faulty:\n    port: int = setting('Port.', default=4)"
    ),
    "settings section with a list": Fault(
        SETTINGS + "@dataclass(frozen=True)\nclass Faulty:\n    names: list | None = setting('Names.')"
    ),
    "settings section with a wrong default": Fault(
        SETTINGS + "@dataclass(frozen=True)\nclass Faulty:\n    name: str = setting('Name.', default=4)"
    ),
    "settings section without its type": Fault(
        "@hookimpl  # here\ndef mlxk_settings():\n"
        "    yield SettingsSection(name='x', summary='', type='zoo_faulty:Nothing')"
    ),
    "accepts raises": Fault(
        "@hookimpl\ndef mlxk_backends():\n    yield BackendSpec(name='x', summary='', accepts=accepts, target='a:b')\n"
        "def accepts(model):\n    return model.nothing  # here",
        by="ask",
    ),
    "accepts returns None": Fault(
        "@hookimpl\ndef mlxk_backends():\n    yield BackendSpec(name='x', summary='', accepts=accepts, target='a:b')\n"
        "def accepts(model):  # here\n    return None",
        by="ask",
    ),
    "load raises": Fault(BACKEND + "def load(model, context):\n    raise OSError('weights')  # here", by="ask"),
    "load exits": Fault(BACKEND + "def load(model, context):\n    raise SystemExit(3)  # here", by="ask"),
    "load takes no context": Fault(BACKEND + "def load(model): ...", by="ask"),
    "load returns None": Fault(BACKEND + "def load(model, context): ...  # here", by="ask"),
    "engine without step": Fault(
        BACKEND + "def load(model, context):  # here\n    return Faulty()\nclass Faulty:\n    tokenizer = None\n",
        by="ask",
    ),
    "render raises": Fault(
        ENGINE + "class Faulty(FakeEngine):\n    def render(self, *a, **b):\n        1 / 0  # here", by="ask"
    ),
    "check raises": Fault(
        ENGINE + "class Faulty(FakeEngine):\n    def check(self, row):\n        1 / 0  # here", by="ask"
    ),
    "add raises": Fault(ENGINE + "class Faulty(FakeEngine):\n    def add(self, row):\n        1 / 0  # here", by="ask"),
    "step raises": Fault(ENGINE + "class Faulty(FakeEngine):\n    def step(self):\n        1 / 0  # here", by="ask"),
    "step returns texts": Fault(
        ENGINE
        + "class Faulty(FakeEngine):\n    def step(self):  # here\n"
        + "        return [type('Event', (), {'id': id})() for id in self._rows]",
        by="ask",
    ),
    "step returns a number": Fault(
        ENGINE + "class Faulty(FakeEngine):\n    def step(self):  # here\n        return 7", by="ask"
    ),
    "step returns a text": Fault(
        ENGINE + "class Faulty(FakeEngine):\n    def step(self):  # here\n        return ['x']", by="ask"
    ),
    "render returns a number": Fault(
        ENGINE + "class Faulty(FakeEngine):\n    def render(self, *a, **b):  # here\n        return 7", by="ask"
    ),
    "detokenizer returns None": Fault(
        TOKENIZER
        + "class Faulty(FakeTokenizer):\n    def detokenizer(self):\n        return Broken()\n"
        + "class Broken(FakeDetokenizer):\n    def add(self, token): ...  # here",
        by="ask",
    ),
    "encode raises": Fault(
        TOKENIZER + "class Faulty(FakeTokenizer):\n    def encode(self, text, **b):\n        1 / 0  # here", by="ask"
    ),
    "detokenizer raises": Fault(
        TOKENIZER
        + "class Faulty(FakeTokenizer):\n    def detokenizer(self):\n        return Broken()\n"
        + "class Broken(FakeDetokenizer):\n    def add(self, token):\n        1 / 0  # here",
        by="ask",
    ),
    "matches raises": Fault(
        FORMAT.replace('return Evidence(Strength.TEMPLATE, "always")', "1 / 0  # here\nFaulty = print"), by="ask"
    ),
    "format cannot be made": Fault(
        FORMAT + "class Faulty:\n    def __init__(self, context):\n        1 / 0  # here", by="ask"
    ),
    "format is None": Fault(FORMAT + "def Faulty(context): ...  # here", by="ask"),
    "feed raises": Fault(
        FORMAT
        + "class Faulty:\n    channel = None\n    def __init__(self, context): ...\n"
        + "    def feed(self, text):\n        1 / 0  # here\n    def close(self): return ()",
        by="ask",
    ),
    "feed returns text": Fault(
        FORMAT
        + "class Faulty:\n    channel = None\n    def __init__(self, context): ...\n"
        + "    def feed(self, text):  # here\n        return text\n    def close(self): return ()",
        by="ask",
    ),
    "close raises": Fault(
        FORMAT
        + "class Faulty:\n    channel = None\n    def __init__(self, context): ...\n"
        + "    def feed(self, text): return ()\n    def close(self):\n        1 / 0  # here",
        by="ask",
    ),
    "stop policy raises": Fault("@hookimpl\ndef mlxk_stop_policies(model):\n    1 / 0  # here", by="ask"),
    "constraint check raises": Fault(
        CONSTRAINT
        + "class Compiler:\n    def check(self, grammar):\n        1 / 0  # here\n    def compile(self): ...",
        by="constrain",
    ),
    "constraint compile raises": Fault(
        CONSTRAINT + "class Compiler:\n    def check(self, grammar): ...\n"
        "    def compile(self, grammar, vocabulary):\n        1 / 0  # here",
        by="constrain",
    ),
    "constraint compiles to None": Fault(
        CONSTRAINT + "class Compiler:\n    def check(self, grammar): ...\n"
        "    def compile(self, grammar, vocabulary): ...  # here",
        by="constrain",
    ),
    "source cannot be made": Fault(
        """
        @hookimpl
        def mlxk_model_sources():
            yield ModelSourceSpec(name="faulty", summary="", target=Faulty)

        class Faulty:
            def __init__(self):
                1 / 0  # here
        """,
        by="find",
    ),
    "source returns names of a wrong type": Fault(
        """
        @hookimpl
        def mlxk_model_sources():
            yield ModelSourceSpec(name="faulty", summary="", target=Faulty)

        class Faulty:
            def names(self):  # here
                return "abc"

            def find(self, name):
                return None
        """,
        by="find",
    ),
    "detector raises": Fault(
        "@hookimpl\ndef mlxk_quantization_detectors():\n    yield QuantizationDetectorSpec(name='x', detect=detect)\n"
        "def detect(model):\n    1 / 0  # here",
        by="find",
    ),
    "server extension raises": Fault(
        "@hookimpl\ndef mlxk_server_extensions():\n    yield ServerExtensionSpec(name='x', summary='', target=extend)\n"
        "def extend(server):\n    server.add_route('/x', object())\n    1 / 0  # here",
        by="extend",
    ),
    "listener of loads raises": Fault(LIFECYCLE.format("on_load"), by="ask"),
    "listener of requests raises": Fault(LIFECYCLE.format("on_request"), by="ask"),
    "listener of ends raises": Fault(LIFECYCLE.format("on_finish"), by="ask"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_plugin_changes_nothing_else_and_is_named_with_its_line(zoo, tmp_path, caplog, name):
    fault = FAULTS[name]
    zoo.command("good")
    before = [zoo.mlxk("good"), zoo.mlxk("good", "--json")]
    zoo.plugin("faulty", fault.source)
    after = [zoo.mlxk("good"), zoo.mlxk("good", "--json")]
    assert [(done.code, done.stdout) for done in after] == [(done.code, done.stdout) for done in before]
    assert "Say good." in zoo.mlxk("--help").stdout

    said = "\n".join(meet(zoo, fault, tmp_path, caplog))
    lines = (zoo.folder / "zoo_faulty.py").read_text().splitlines()
    here = [number for number, line in enumerate(lines, start=1) if line.endswith("# here")]
    assert "faulty (zoo-faulty 1.0)" in said
    if here:
        assert f"zoo_faulty.py:{here[0]}" in said


def meet(zoo, fault, folder, caplog):
    """Do what meets the fault, and return what the user reads of it."""
    if fault.by == "command":
        yield zoo.mlxk("faulty").stderr
        return
    if fault.by == "json":
        done = zoo.mlxk("faulty", "--json")
        assert done.code == 1
        yield done.json["error"]["message"]
        return
    host = zoo.host()
    model = fake_model(folder / "model")
    if "mlxk_backends" not in fault.source:
        host.register(fake_backend("Hello.", spec={"constraints": True}), name="fake")
    with caplog.at_level(logging.DEBUG), contextlib.ExitStack() as stack:
        if fault.by in ("ask", "constrain"):
            service = stack.enter_context(GenerationService(host))
            constraint = Constraint(kind="faulty", value="x") if fault.by == "constrain" else None
            request = GenerationRequest(
                model=model, prompt=[Message(role="user", content="Hi")], constraint=constraint, max_tokens=5
            )
            try:
                service.submit(request).result()
            except MlxkError as error:
                yield str(error)
                expects_cause = "which" not in str(error) and "cannot be run" not in str(error)
                assert error.__cause__ is not None or not expects_cause, "the cause is kept for debug output"
        elif fault.by == "extend":
            for spec in host.server_extensions():
                assert additions(host, spec, Claims()) == ()
        elif fault.by == "find":
            Resolver(host).all()
            host.quantizations(model)
    for record in host.plugins():
        if record.reason and record.status != "disabled":
            yield f"{record.label}: {record.reason}"


def test_the_table_has_faults_of_every_hook(zoo):
    from mlxk_core._host.hookspecs import HookSpecs

    text = "\n".join(dedent(fault.source) for fault in FAULTS.values())
    assert len(FAULTS) >= 30
    for hook in vars(HookSpecs):
        assert not hook.startswith("mlxk_") or f"def {hook}(" in text, hook


def test_debug_shows_the_frame_of_the_plugin(zoo, tmp_path):
    zoo.plugin("faulty", FAULTS["command raises"].source)
    assert "Traceback" not in zoo.mlxk("faulty").stderr
    shown = zoo.mlxk("faulty", MLXK_DEBUG="1").stderr
    assert "Traceback" in shown
    assert "1 / 0  # here" in shown


LOUD = """
import os
import subprocess
from mlxk_core.api.commands import json_option
from mlxk_core.api.generation import Delta, GenerationRequest, GenerationService, Message
from mlxk_core.api.models import Resolver
from mlxk_testing.fake_engine import FakeEngine, Script

def shout():
    print("print")
    os.write(1, b"descriptor")
    subprocess.run(["echo", "child"])

class Loud(FakeEngine):
    def close(self):
        shout()

    def step(self):
        print("a step prints")
        return super().step()

    def render(self, *args, **options):
        print("render prints")
        return super().render(*args, **options)

@hookimpl
def mlxk_backends():
    shout()
    yield BackendSpec(name="loud", summary="", accepts=accepts, target=load, estimate=estimate)

def accepts(model):
    shout()
    return Verdict.yes()

def estimate(model):
    shout()
    return 1

def load(model, context):
    shout()
    context.at_thread_exit(shout)
    return Loud(Script(answer=lambda prompt: "Hello."))

@hookimpl
def mlxk_commands():
    yield CommandSpec(name="ask", summary="Ask.", target=ask)

@click.command("ask")
@click.argument("model")
@json_option
@click.pass_obj
def ask(session, model):
    '''Ask.'''
    print("own")
    with GenerationService(session.host) as service:
        model = Resolver(session.host).resolve(model)
        request = GenerationRequest(model=model, prompt=[Message(role="user", content="Hi")], max_tokens=99)
        text = ""
        for event in service.submit(request):
            if isinstance(event, Delta):
                text += event.text
                print("own while it runs") if text == event.text else None
    session.output.line(text)
    subprocess.run(["echo", "own child"])
    return {"text": text}
"""


def test_what_a_backend_prints_is_never_in_the_answer(zoo, tmp_path):
    zoo.plugin("loud", LOUD)
    model = fake_model(tmp_path / "model")
    done = zoo.process("ask", str(model.path))
    assert (done.code, done.stdout) == (0, "own\nown while it runs\nHello.\nown child\n")
    assert "a step prints" in done.stderr
    assert "render prints" in done.stderr
    assert done.stderr.count("print\n") == done.stderr.count("descriptor") == done.stderr.count("child") >= 5


def test_with_json_nothing_but_the_document_is_written_by_a_loud_backend(zoo, tmp_path):
    zoo.plugin("loud", LOUD)
    model = fake_model(tmp_path / "model")
    assert zoo.process("ask", str(model.path), "--json").json["data"] == {"text": "Hello."}


def test_the_section_of_a_faulty_plugin_is_tolerated_and_the_others_are_read(zoo, tmp_path):
    zoo.plugin("faulty", FAULTS["settings section is a dict"].source)
    good = FAULTS["settings section with a wrong default"].source.replace("default=4", "default=''")
    zoo.plugin("good", good.replace('"faulty"', '"good"'))
    file = tmp_path / "config.toml"
    file.write_text("[x]\nanything = 1\n[good]\nname = 'n'\n", encoding="utf-8")
    with zoo._inside({"MLXK_CONFIG": str(file)}):
        host = zoo.host()
        assert {name: section.name for name, section in host.settings.sections.items()} == {"good": "n"}
        assert [section.name for section in host.settings_sections()] == ["good"]
    checked = zoo.mlxk("plugins", "--check", MLXK_CONFIG=str(file))
    assert "Plugins with problems: faulty." in checked.stderr
    assert checked.stdout.count("dict is not a frozen dataclass of settings") == 1


WRONG_TYPES = {
    "max_tokens": "4",
    "min_tokens": 1.5,
    "backend": 3,
    "ttl": "5m",
    "ignore_eos": "yes",
    "chat_stops": 1,
    "stop": "END",
    "stop[1]": ("a", 3),
    "stop_tokens[0]": ("</s>",),
    "tools": "search",
    "tools[0]": ({"name": "search"},),
    "tools[0].name": (Tool(name=3),),
    "tools[0].parameters": (Tool(name="search", parameters="{}"),),
    "tool_names[0]": (3,),
    "constraint": {"kind": "regex"},
    "constraint.kind": Constraint(kind=None, value="x"),
    "template_options": "thinking",
    "token_policy": "full",
    "sampling": {"temperature": 0},
    "temperature": Sampling(temperature="0.5"),
    "top_k": Sampling(top_k=4.5),
    "seed": Sampling(seed=True),
    "logit_bias": Sampling(logit_bias=[(3, 1.0)]),
    "a key of logit_bias": Sampling(logit_bias={"3": 1.0}),
    "prompt": None,
    "prompt[1]": [1, "two"],
    "prompt[0]": [{"role": "user", "content": "Hi"}],
    "prompt[0].content": [Message(role="user", content=None)],
    "prompt[0].role": [Message(role="human", content="Hi")],
    "prompt[0].tool_calls[0].arguments": [
        Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name="search", arguments={}),))
    ],
    "model": "org/name",
}


def test_a_request_with_a_wrong_type_is_the_mistake_of_its_caller(zoo, tmp_path):
    host = zoo.host()
    host.register(fake_backend("Hello."), name="fake")
    model = fake_model(tmp_path / "model")
    fine = GenerationRequest(model=model, prompt="Hi")
    with GenerationService(host) as service:
        for path, value in WRONG_TYPES.items():
            field = re.match(r"\w+", path)[0]
            field = "sampling" if isinstance(value, Sampling) else field
            request = GenerationRequest(**{"model": model, "prompt": "Hi", field: value})
            for use in (service.submit, service.prompt, lambda request: service.submit_all([fine, request])):
                with pytest.raises(InvalidOption, match="must be") as caught:
                    use(request)
                assert caught.value.option == path
        as_lists = GenerationRequest(model=model, prompt=(1, 2), stop=["x"], ttl=3, sampling=Sampling(temperature=0))
        assert service.submit(as_lists).result().content == "Hello."
    assert not any(record.reason for record in host.plugins() if record.status != "disabled")


@pytest.mark.parametrize("name", ["render returns a number", "render raises", "encode raises"])
def test_the_prompt_of_a_faulty_engine_names_its_plugin(zoo, tmp_path, name):
    zoo.plugin("faulty", FAULTS[name].source)
    request = GenerationRequest(model=fake_model(tmp_path / "m"), prompt=[Message(role="user", content="Hi")])
    with GenerationService(zoo.host()) as service, pytest.raises(EngineFailure) as caught:
        service.prompt(request)
    lines = (zoo.folder / "zoo_faulty.py").read_text().splitlines()
    here = next(number for number, line in enumerate(lines, start=1) if line.endswith("# here"))
    assert "faulty (zoo-faulty 1.0)" in str(caught.value)
    assert f"zoo_faulty.py:{here}" in str(caught.value)
