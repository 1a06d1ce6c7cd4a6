"""One broken plugin harms nobody else: a zoo of them."""

from __future__ import annotations

import re

import pytest

from mlxk_core._check.import_check import import_problems

BROKEN = {
    "missing-import": ("import a_module_nobody_has", "No module named 'a_module_nobody_has'"),
    "syntax": ("def mlxk_commands(:", "SyntaxError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "raises": ("raise RuntimeError('one\\n  two')", "RuntimeError: one two"),
    "no-message": ("class Bad(Exception):\n    def __str__(self):\n        raise KeyError\nraise Bad", "Bad ("),
    "prints": ("print('hello from import'); raise OSError()", "OSError"),
    "unknown-hook": ("@hookimpl\ndef mlxk_nope(): ...", "it implements the hook mlxk_nope, which mlxk-core"),
    "unknown-argument": ("@hookimpl\ndef mlxk_commands(nonsense): ...", "nonsense"),
    "unmarked": ("def mlxk_commands(): ...", "its mlxk_commands lacks the @hookimpl marker"),
    "wrapper": (
        "@hookimpl(wrapper=True)\ndef mlxk_commands():\n    return (yield)",
        "its mlxk_commands is a hook wrapper",
    ),
    "raising-hook": (
        "@hookimpl\ndef mlxk_commands():\n    raise KeyError('x')",
        "mlxk_commands() raised KeyError: 'x'",
    ),
    "late-hook": (
        "@hookimpl\ndef mlxk_commands():\n    yield CommandSpec(name='a', summary='', target='')\n    1 / 0",
        "mlxk_commands() raised ZeroDivisionError",
    ),
    "exiting-hook": ("@hookimpl\ndef mlxk_commands():\n    raise SystemExit", "mlxk_commands() raised SystemExit"),
    "interrupting-hook": (
        "@hookimpl\ndef mlxk_commands():\n    raise KeyboardInterrupt",
        "mlxk_commands() raised SystemExit: KeyboardInterrupt",
    ),
    "wrong-type": ("@hookimpl\ndef mlxk_commands():\n    return [{'name': 'x'}]", "it returns dict, not CommandSpec"),
    "no-iterable": ("@hookimpl\ndef mlxk_commands():\n    return 7", "mlxk_commands() raised TypeError"),
    "stale-api": (
        "@hookimpl\ndef mlxk_commands():\n    yield CommandSpec(name='x', help='the old way')",
        "mlxk_commands() raised TypeError",
    ),
    "gone-api": ("from mlxk_core.api import StopTokens", "cannot import name 'StopTokens'"),
}


@pytest.fixture
def full_zoo(zoo):
    zoo.command("good")
    for name, (source, _) in BROKEN.items():
        zoo.plugin(name, source)
    return zoo


def test_a_command_works_among_all_the_broken_plugins(full_zoo):
    done = full_zoo.process("good")
    assert (done.code, done.stdout) == (0, "good!\n")


def test_all_the_broken_plugins_are_named_in_one_line_on_stderr(full_zoo):
    stderr = full_zoo.process("good").stderr.replace("hello from import\n", "")
    assert stderr.count("\n") == 1
    assert stderr.startswith("mlxk: skipped broken plugins: ")
    assert stderr.endswith("Run `mlxk plugins` for the reason.\n")
    assert all(f"{name} (zoo-{name} 1.0)" in stderr for name in BROKEN)


def test_json_stays_one_document_among_broken_plugins(full_zoo):
    done = full_zoo.process("good", "--json")
    assert done.json == {"status": "success", "command": "good", "data": {"said": "good"}, "error": None}


def test_help_lists_what_works(full_zoo):
    done = full_zoo.mlxk("--help")
    assert done.code == 0
    assert re.search(r"^  good +Say good\.$", done.stdout, re.MULTILINE)
    assert "hello from import" not in done.stdout


def test_each_broken_plugin_is_listed_with_its_reason(full_zoo):
    listed = {entry["name"]: entry for entry in full_zoo.mlxk("plugins", "--json").json["data"]["plugins"]}
    assert listed["good"]["status"] == "loaded"
    assert listed["good"]["provides"] == ["command good"]
    for name, (_, reason) in BROKEN.items():
        assert listed[name]["status"] == "failed", name
        assert reason in listed[name]["reason"]
        assert "\n" not in listed[name]["reason"]
        assert listed[name]["provides"] == [], "nothing of a half-registered plugin stays"


def test_listing_succeeds_and_checking_fails_when_something_is_broken(full_zoo):
    assert full_zoo.mlxk("plugins").code == 0
    checked = full_zoo.mlxk("plugins", "--check", "--json")
    assert checked.code == 1
    assert checked.json["error"]["type"] == "plugin_failure"
    assert checked.json["error"]["details"]["plugins"] == sorted(BROKEN)
    assert len(checked.json["data"]["plugins"]) > len(BROKEN)


def test_the_table_tells_the_reason_and_is_all_that_is_said(full_zoo):
    done = full_zoo.mlxk("plugins")
    row = next(line for line in done.stdout.splitlines() if line.startswith("unknown-hook "))
    assert row.split()[1:4] == ["zoo-unknown-hook", "1.0", "failed"]
    assert "skipped" not in done.stderr


def test_checking_imports_what_is_named_and_so_finds_a_command_that_cannot_start(zoo):
    zoo.command("good")
    zoo.plugin("hollow", COMMAND_WITHOUT_MODULE)
    assert zoo.mlxk("plugins", "--json").json["data"]["plugins"]
    checked = zoo.mlxk("plugins", "--check", "--json")
    assert checked.json["error"]["details"]["plugins"] == ["hollow"]


def test_checking_imports_nothing_from_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    assert import_problems("mlxk_core.api") == []


COMMAND_WITHOUT_MODULE = """
@hookimpl
def mlxk_commands():
    yield CommandSpec(name="hollow", summary="Say nothing.", target="nowhere_at_all:command")
"""


def test_a_command_whose_module_is_missing_names_its_plugin_and_leaves_the_others(zoo):
    zoo.command("good")
    zoo.plugin("hollow", COMMAND_WITHOUT_MODULE)
    done = zoo.mlxk("hollow")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "hollow (zoo-hollow 1.0)" in done.stderr
    assert "No module named 'nowhere_at_all'" in done.stderr
    assert zoo.mlxk("good").code == 0
    assert "hollow" in zoo.mlxk("--help").stdout


def test_debug_shows_the_traceback_of_a_command_that_cannot_start(zoo):
    zoo.plugin("hollow", COMMAND_WITHOUT_MODULE)
    stderr = zoo.process("hollow", MLXK_DEBUG="1").stderr
    assert "Traceback" in stderr
    assert "ModuleNotFoundError" in stderr


def test_a_command_name_that_two_claim_is_off_and_everything_else_is_on(zoo):
    zoo.command("good")
    zoo.command("dup", plugin="first")
    zoo.plugin(
        "second",
        """
        @hookimpl
        def mlxk_commands():
            yield CommandSpec(name="other", summary="Say other.", target="zoo_first_command:command", aliases=("dup",))
        """,
        version="2.1",
    )
    done = zoo.mlxk("dup")
    assert done.code == 2
    assert done.stderr == (
        "mlxk: error: The command `dup` is claimed by several plugins: first (zoo-first 1.0), second (zoo-second 2.1). "
        "Turn one off with --disable-plugin first or --disable-plugin second, or with MLXK_DISABLE_PLUGINS.\n"
    )
    assert zoo.mlxk("good").code == 0
    assert zoo.mlxk("other").code == 0
    assert zoo.mlxk("--disable-plugin", "second", "dup").stdout == "dup!\n"
    assert zoo.mlxk("plugins", "--check").code == 1
    assert "dup" in zoo.mlxk("--help").stdout


def test_mlxks_own_command_cannot_be_claimed_and_the_attempt_is_reported(zoo):
    zoo.command("plugins", plugin="usurper")
    listed = zoo.mlxk("plugins", "--json")
    assert listed.json["command"] == "plugins"
    (usurper,) = [entry for entry in listed.json["data"]["plugins"] if entry["name"] == "usurper"]
    assert usurper["provides"] == []
    assert usurper["conflicts"] == ["The command `plugins` is mlxk's own and cannot be claimed."]
    assert zoo.mlxk("plugins", "--check").code == 1


def test_a_plugin_for_another_mlxk_core_says_so_first(zoo):
    zoo.plugin("stale", "from mlxk_core.api import StopTokens", requires=["mlxk-core<0.1", "click"])
    zoo.command("future")
    (zoo.folder / "zoo_future-1.0.dist-info" / "METADATA").open("a").write("Requires-Dist: MLXK_core>=9\n")
    listed = {entry["name"]: entry for entry in zoo.mlxk("plugins", "--json").json["data"]["plugins"]}
    assert listed["stale"]["reason"].startswith("needs mlxk-core<0.1 (0.1.0 is installed): ImportError")
    assert (listed["future"]["status"], listed["future"]["reason"]) == (
        "loaded",
        "needs mlxk-core>=9 (0.1.0 is installed)",
    )
    assert zoo.mlxk("plugins", "--check").code == 1


def test_strict_mode_turns_the_first_failure_into_an_error(full_zoo):
    done = full_zoo.process("good", MLXK_STRICT_PLUGINS="1")
    assert (done.code, done.stdout) == (1, "")
    assert "mlxk: error: Plugin exits (zoo-exits 1.0) failed: SystemExit: 3 (zoo_exits.py:4)." in done.stderr


@pytest.mark.parametrize("args", [["--no-plugins", "--help"], ["--help", "--no-plugins"]])
def test_no_plugins_holds_before_and_after_help(zoo, args):
    zoo.command("good")
    zoo.plugin("loud", "import sys; print('imported', file=sys.stderr)")
    done = zoo.mlxk(*args)
    assert done.code == 0
    assert "good" not in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["good", "zoo-good", "Zoo_Good"])
def test_a_plugin_is_left_out_by_its_name_or_its_distributions(zoo, name):
    zoo.command("good")
    zoo.command("better")
    for args, env in (["--disable-plugin", name], {}), ([], {"MLXK_DISABLE_PLUGINS": f" {name} ,nobody"}):
        assert zoo.mlxk(*args, "better", **env).code == 0
        assert zoo.mlxk(*args, "good", **env).code == 2


def test_the_environment_can_leave_out_all_plugins(zoo):
    zoo.command("good")
    listed = zoo.mlxk("plugins", "--json", MLXK_DISABLE_PLUGINS="*").json["data"]["plugins"]
    assert {entry["status"] for entry in listed} == {"disabled"}
    assert {entry["reason"] for entry in listed} == {"MLXK_DISABLE_PLUGINS"}


def test_leaving_out_a_plugin_that_is_not_there_is_wrong_usage(zoo):
    done = zoo.mlxk("--disable-plugin", "nobody", "plugins")
    assert done.code == 2
    assert "no plugin or distribution is named `nobody`" in done.stderr


def test_two_plugins_of_one_name_are_told_apart_by_their_distributions(zoo):
    zoo.plugin("same", COMMAND_WITHOUT_MODULE, dist="zoo-a")
    zoo.plugin("same", COMMAND_WITHOUT_MODULE, dist="zoo-b")
    assert "--disable-plugin zoo-a or --disable-plugin zoo-b" in zoo.mlxk("hollow").stderr
    assert "zoo-b" in zoo.mlxk("--disable-plugin", "zoo-a", "hollow").stderr


def test_the_table_groups_what_a_plugin_provides(zoo):
    zoo.plugin(
        "many",
        """
        @hookimpl
        def mlxk_commands():
            return [CommandSpec(name=name, summary="", target="json:dumps") for name in ("b", "a")]

        @hookimpl
        def mlxk_stop_policies(model):
            return ()
        """,
    )
    assert "command a, b; stop policy" in zoo.mlxk("plugins").stdout


def test_a_missing_command_of_an_installed_distribution_names_the_problem(zoo):
    zoo.plugin("run", "import a_module_nobody_has", dist="mlxk-run")
    zoo.env["MLXK_DISABLE_PLUGINS"] = zoo.env["MLXK_DISABLE_PLUGINS"].replace("mlxk-run", "mlxk-none")
    assert "comes with mlxk-run, which failed: ModuleNotFoundError: No module" in zoo.process("run").stderr
    done = zoo.process("--disable-plugin", "run", "run")
    assert done.stderr.endswith("It comes with mlxk-run, which --disable-plugin turns off.\n")


EXTENSION = """
@hookimpl
def mlxk_server_extensions():
    yield ServerExtensionSpec(name="{name}", summary="", target=extend)

class Page:
    def on_get(self, req, resp): ...

def extend(server):
    server.add_route("/{name}", Page())
    {line}
"""


def test_checking_finds_an_extension_whose_route_or_field_is_taken(zoo):
    lines = {
        "a-good": "server.add_route('/pages/{page}', Page())",
        "b-other": "server.add_route('/pages/{name}', Page())",
        "c-server": "server.add_route('/v1/models/{name}', Page())",
        "d-field": "server.add_request_field('temperature', print)",
        "e-twice": "server.add_route('/e-twice/', Page())",
        "f-middleware": "server.add_middleware(Page())",
    }
    for name, line in lines.items():
        zoo.plugin(name, EXTENSION.replace("{name}", name, 2).replace("{line}", line))
    checked = zoo.mlxk("plugins", "--check", "--json")
    records = {entry["name"]: entry for entry in checked.json["data"]["plugins"] if entry["status"] != "disabled"}
    assert checked.json["error"]["details"]["plugins"] == sorted(lines)[1:]
    assert records["a-good"]["provides"] == ["server extension a-good", "route /a-good", "route /pages/{page}"]
    assert "taken by /pages/{page} of server extension a-good" in records["b-other"]["reason"]
    assert "taken by /v1/models/{model:path} of the server" in records["c-server"]["reason"]
    assert "temperature is taken by the server" in records["d-field"]["reason"]
    for entry in records.values():
        assert entry["problems"] == [], "what is on the record is not repeated"
        assert not any(what.startswith("route") for what in entry["provides"]) or entry["name"] == "a-good"


def test_checking_runs_an_extension_once_and_finds_what_it_prints(zoo):
    lines = [
        "with open(f'{__file__}.calls', 'a') as calls: calls.write('called')",
        "print('noise')",
        "raise KeyError('gone')",
    ]
    zoo.plugin("loud", EXTENSION.replace("{name}", "loud", 2).replace("{line}", "\n    ".join(lines)))
    records = zoo.mlxk("plugins", "--check", "--json").json["data"]["plugins"]
    [loud] = [entry for entry in records if entry["name"] == "loud"]
    assert (zoo.folder / "zoo_loud.py.calls").read_text() == "called"
    assert "KeyError: 'gone'" in loud["reason"]
    assert loud["problems"] == ["server extension loud prints to standard output"]


def test_an_error_that_is_met_at_several_lines_is_one_problem(zoo):
    source = """
    @hookimpl
    def mlxk_quantization_detectors():
        yield QuantizationDetectorSpec(name="x", detect=detect)

    def detect(model):
        if model.config:
            {}["key"]
        {}["key"]
    """
    zoo.plugin("faulty", source)
    [faulty] = [
        entry for entry in zoo.mlxk("plugins", "--check", "--json").json["data"]["plugins"] if entry["name"] == "faulty"
    ]
    assert len({faulty["reason"], *faulty["problems"]} - {None}) == 1
