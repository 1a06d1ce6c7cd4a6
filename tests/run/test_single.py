"""`mlxk run` with a prompt, in this process, on a scripted engine: what goes where, and how it ends."""

import json
import os
import signal

import pytest

import mlxk_pull.plugin
from mlxk_run import plugin
from mlxk_testing.fake_engine import fake_backend, fake_model
from mlxk_testing.fake_format import FakeFormat


@pytest.fixture
def say(host, cli, tmp_path):
    """`say("answer", "--json")` runs `mlxk run MODEL "Hi" --json` on an engine that answers so."""
    host.register(plugin, name="run")
    host.register(FakeFormat(), name="format")
    engine = fake_backend("")
    host.register(engine, name="fake")
    folder = fake_model(tmp_path / "talker", context=500).path

    def run(answer, *options, prompt=("Hi",), input="", **script):
        engine.script.answer = answer if callable(answer) else lambda prompt: answer
        for name, value in script.items():
            setattr(engine.script, name, value)
        return cli("run", str(folder), *prompt, *options, input=input)

    run.engine = engine
    run.folder = folder
    return run


def test_standard_output_has_the_answer_and_nothing_else(say):
    result = say("Hello there.", "--verbose")
    assert (result.code, result.stdout) == (0, "Hello there.\n")
    assert "tokens" in result.stderr


def test_a_backend_gets_only_the_default_sampling_values_that_it_claims(host, cli, tmp_path):
    host.register(plugin, name="run")
    engine = fake_backend("Hi.", spec={"sampling": frozenset({"temperature"})})
    host.register(engine, name="fake")
    folder = str(fake_model(tmp_path / "talker").path)
    assert cli("run", folder, "Hi").stdout == "Hi.\n"
    sampling = engine.script.happened("add")[-1].sampling
    assert (sampling.temperature, sampling.top_p) == (0.7, 1)
    assert "top_p" in cli("run", folder, "Hi", "--top-p", "0.5").stderr


@pytest.mark.parametrize("answer", ["Hello.", "(Let me see.)\n\nIt is 4.", "(only thoughts)", ""])
@pytest.mark.parametrize("options", [(), ("--hide-reasoning",)])
def test_stream_and_no_stream_show_the_same(say, answer, options):
    assert say(answer, *options).stdout == say(answer, "--no-stream", *options).stdout


def test_reasoning_stands_under_its_heading_and_can_be_hidden(say):
    assert say("(Let me see.)\nIt is 4.").stdout == (
        "**[Reasoning]**\n\nLet me see.\n\n---\n\n**[Answer]**\n\nIt is 4.\n"
    )
    assert say("(Let me see.)\nIt is 4.", "--hide-reasoning").stdout == "It is 4.\n"
    assert say("(a)b", "--reasoning-format", "none").stdout == "(a)b\n"


def test_hidden_reasoning_without_an_answer_is_said_on_standard_error(say):
    result = say("(I never come to an end", "--hide-reasoning")
    assert result.stdout == "" and "--hide-reasoning" in result.stderr


def test_json_has_reasoning_and_response_apart(say):
    data = say("(a)b", "--json").json["data"]
    assert (data["reasoning"], data["response"], data["finish_reason"]) == ("a", "b", "stop")
    assert data["prompt"] == "Hi" and data["model"] == "talker" and data["revision"] is None
    usage = data["usage"]
    assert usage["completion_tokens"] == 5 and usage["total_tokens"] == usage["prompt_tokens"] + 5
    assert usage["reasoning_tokens"] == 3


def test_a_stop_string_ends_the_answer(say):
    assert say("one END two", "--stop", "END").stdout == "one \n"


def test_the_chat_policy_stops_and_can_be_turned_off(say):
    assert say("one\nUser: two").stdout == "one\n"
    assert say("one\nUser: two", "--no-chat-stops").stdout == "one\nUser: two\n"
    assert say("one\nUser: two", "--no-chat-template").stdout == "one\nUser: two\n"


def test_a_system_prompt_reaches_the_template(say):
    assert say(lambda prompt: json.dumps(prompt), "--system", "Be brief.").stdout == (
        '"<system>Be brief.\\n<user>Hi\\n<assistant>"\n'
    )


def test_without_a_chat_template_the_prompt_is_taken_as_it_is(say):
    assert say(lambda prompt: prompt, "--no-chat-template").stdout == "Hi\n"


def test_a_model_without_a_template_is_said_on_standard_error(say):
    result = say(lambda prompt: "ok", template=False)
    assert result.stdout == "ok\n" and "Human:" in result.stderr


def test_an_answer_cut_by_its_limit_says_so(say):
    result = say("abcdef", "--max-tokens", "3")
    assert (result.code, result.stdout) == (0, "abc\n")
    assert "3 tokens" in result.stderr
    assert say("abcdef", "--max-tokens", "3", "--json").json["data"]["finish_reason"] == "length"


def test_a_prompt_that_does_not_fit_fails_with_both_numbers(say):
    result = say("x", prompt=("y" * 600,))
    assert result.code == 1 and result.stdout == ""
    assert "500" in result.stderr and "tokens" in result.stderr


def test_standard_input_is_the_prompt_when_there_are_no_words(say):
    assert (
        say(lambda prompt: prompt, "--no-chat-template", prompt=(), input="From a pipe.\n").stdout == "From a pipe.\n"
    )
    assert (
        say(lambda prompt: prompt, "--no-chat-template", prompt=("-", "more"), input="Text\n").stdout
        == "Text\n\nmore\n"
    )


def test_a_failure_of_the_engine_is_a_failure_of_the_command(say):
    result = say("x", fail_step=RuntimeError("the matrix is full"))
    assert result.code == 1 and result.stdout == "" and "the matrix is full" in result.stderr
    envelope = say("x", "--json", fail_step=RuntimeError("the matrix is full"))
    assert envelope.code == 1 and envelope.json["error"]["type"] == "engine_failure"


def test_a_failure_in_the_midst_of_an_answer_is_told_on_a_line_of_its_own(say):
    result = say("Hel~lo")
    assert (result.code, result.stdout) == (1, "Hel\n") and "no such marker" in result.stderr
    assert say("~").stdout == ""


def test_a_tool_call_that_nobody_can_answer_is_not_lost(say):
    result = say("Calling!")
    assert result.stdout == "Calling\nshout {}\n"


@pytest.mark.parametrize(
    "arguments, word",
    [
        (("--max-tokens", "0"), "max-tokens"),
        (("--top-p", "0"), "top-p"),
        (("--temperature", "-1"), "temperature"),
        (("--system", "x", "--no-chat-template"), "cannot be used"),
        (("--backend", "nothing"), "backend"),
        (("--reasoning-format", "nothing"), "reasoning-format"),
        (("--no-such-option",), "no-such-option"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_document_with_json(say, arguments, word):
    result = say("x", *arguments)
    assert result.code == 2 and result.stdout == "" and word in result.stderr
    envelope = say("x", *arguments, "--json")
    assert envelope.code == 2 and envelope.json["status"] == "error"


def test_json_without_a_prompt_is_wrong_usage(say):
    result = say("x", "--json", prompt=())
    assert result.code == 2 and result.json["error"]["type"] == "usage_error"


def test_a_model_that_is_not_there_is_a_failure_that_names_the_way_to_get_it(cli, host, say):
    host.register(mlxk_pull.plugin, name="pull")
    result = cli("run", "org/nowhere", "Hi")
    assert result.code == 1 and "mlxk pull org/nowhere" in result.stderr
    assert cli("run", "org/nowhere", "Hi", "--json").json["error"]["type"] == "model_not_found"


def test_the_models_own_sampling_comes_before_the_defaults_and_an_option_before_both(say):
    (say.folder / "generation_config.json").write_text('{"temperature": 0.25, "top_k": 7}')
    say("x", "--top-k", "3", "--seed", "11")
    sampling = say.engine.script.happened("add")[-1].sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.seed) == (0.25, 3, 0.9, 11)
    assert sampling.repetition_penalty == 1.1


def test_words_that_are_no_text_are_made_some(say):
    bad = b"a\xffb".decode("utf-8", errors="surrogateescape")
    result = say(lambda prompt: prompt, "--system", bad, "--stop", bad, "--json", prompt=(bad,))
    assert result.json["data"]["prompt"] == "a�b"
    assert result.json["data"]["response"] == "<system>"


@pytest.mark.parametrize("ignored", [True, False])
def test_an_interrupt_that_a_script_has_its_background_job_ignore_is_ignored(say, ignored):
    def answer(prompt):
        os.kill(os.getpid(), signal.SIGINT)
        return "Hello." if ignored else "Hello, " * 1000  # the main thread may be late to hear of it

    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        result = say(answer, step_seconds=0.01)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.code == (0 if ignored else 130)


@pytest.mark.parametrize("option", ["--temperature", "--top-p", "--min-p", "--repetition-penalty"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_number_that_is_none_is_wrong_usage(say, option, value):
    result = say("Hello.", option, value)
    assert result.code == 2 and option in result.stderr
    assert value in result.stderr


def test_an_empty_stop_string_is_wrong_usage(say):
    result = say("Hello.", "--stop", "")
    assert result.code == 2 and "--stop" in result.stderr and "empty" in result.stderr


def test_piped_input_is_joined_with_the_words(say):
    result = say(lambda prompt: prompt, "--no-chat-template", input="From a pipe.\n")
    assert result.stdout == "From a pipe.\n\nHi\n"


@pytest.mark.parametrize("prompt", ["-5 + 3?", "- item", "-5", "--no such thing"])
def test_a_prompt_may_begin_with_a_dash(say, prompt):
    assert say(lambda text: text, "--no-chat-template", "-t", "0", prompt=(prompt,)).stdout == f"{prompt}\n"


@pytest.mark.parametrize("options", [("-s", "Be brief."), ("-sBe brief.",), ("--system=Be brief.",)])
def test_options_with_white_space_in_their_value_stay_options(say, options):
    assert "<system>Be brief." in say(lambda text: text.replace("\n", " "), *options).stdout


def test_a_prompt_in_the_place_of_the_model_is_explained(cli, say):
    result = cli("run", "Why is the sky blue?")
    assert result.code == 2 and "mlxk run MODEL" in result.stderr


def test_the_model_may_be_an_option(cli, say):
    say("Hello.")
    assert cli("run", "-m", str(say.folder), "Hi").stdout == "Hello.\n"


def test_a_file_is_part_of_the_prompt(say, tmp_path):
    (tmp_path / "notes.txt").write_text("Bob is 5.\n")
    answer = say(lambda text: text, "--no-chat-template", "-f", str(tmp_path / "notes.txt")).stdout
    assert answer.startswith("File notes.txt:") and "Bob is 5." in answer and answer.endswith("\n\nHi\n")
    assert say("x", "-f", str(tmp_path / "none")).code == 2


def test_an_answer_that_repeats_itself_is_ended(say):
    fake_model(say.folder, context=100_000)
    result = say("Yes, it is. " * 5000, "--json")
    assert result.code == 0 and result.json["data"]["finish_reason"] == "repetition"
    assert result.json["data"]["usage"]["completion_tokens"] < 20_000
    assert "--no-loop-guard" in result.stderr
    whole = say("Yes, it is. " * 500, "--no-loop-guard", "--json").json["data"]
    assert whole["finish_reason"] == "stop"


def test_quiet_prints_the_answer_only(say):
    result = say("abcdef", "-q", "--max-tokens", "3")
    assert (result.stdout, result.stderr) == ("abc\n", "")


def test_thinking_is_an_option_of_the_chat_template(say):
    seen = []
    say.engine.script.refuses = lambda messages, options: seen.append(dict(options))
    say("x", "--no-thinking")
    assert seen[0]["enable_thinking"] is False
    seen.clear()
    say("x")
    assert seen[0] == {}


def test_a_prompt_without_quotes_is_explained(say, cli, host):
    for words in (("Why", "is", "it"), ("whats", "up", "there"), ("Explain", "this:", "x=1")):
        result = cli("run", *words)
        assert result.code == 1 and f'MODEL "{" ".join(words)}"' in result.stderr
    for words in (("qwen3", "is", "it"), ("org/Why", "is", "it"), ("Why", "is it")):
        result = cli("run", *words)
        assert result.code == 1 and "MODEL" not in result.stderr
    assert say("Hello.", prompt=("Why", "is", "it")).code == 0


def test_a_temperature_that_gives_noise_is_warned_of_and_used(say):
    result = say("Hello.", "-t", "9")
    assert result.code == 0 and "9 is above 2" in result.stderr
    assert say.engine.script.happened("add")[-1].sampling.temperature == 9
    assert say("Hello.", "-t", "2").stderr == say("Hello.", "-t", "9", "-q").stderr == ""


@pytest.mark.parametrize("prompt", ["Why is the sky blue? " * 14, "~no-such-account? Why?"])
def test_a_prompt_that_cannot_be_a_path_is_for_the_default_model(say, cli, tmp_path, monkeypatch, prompt):
    file = tmp_path / "mine.toml"
    file.write_text(f'[defaults]\nmodel = "{say.folder}"\n')
    monkeypatch.setenv("MLXK_CONFIG", str(file))
    say.engine.script.answer = lambda text: "yes" if prompt.strip() in text else "no"
    assert cli("run", prompt).stdout == "yes\n"


@pytest.mark.parametrize("words", [(), ("Hi",), ("-",)])
def test_an_unknown_model_is_reported_before_standard_input_is_read(say, cli, words):
    for options in ((), ("--json",)):
        result = cli("run", "nosuch", *words, *options, input="")
        assert result.code == 1 and "`nosuch` not found" in result.stdout + result.stderr
    assert cli("run", str(say.folder), "nosuch", input="").code == 0
    assert cli("run", str(say.folder), input="").code == 2


def test_a_path_that_is_too_long_is_a_missing_model(say, cli):
    result = cli("run", "./" + "a" * 300, "Hi")
    assert result.code == 1 and "No such file or folder" in result.stderr
