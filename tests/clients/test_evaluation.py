"""lm-evaluation-harness against a server: multiple-choice tasks, scored by the log probabilities of the prompt."""

from __future__ import annotations

import json

import mlx.core as mx
import pytest
from mlx_lm.utils import load

from mlxk_testing.tiny_models import in_hub_cache, random_model
from tests.server_process import ServerProcess, own_home

QUESTIONS = [
    {
        "question": f"Which word follows the word number {i}?",
        "choices": ["sea", "a lantern", "«ça va»", f"{i}!"],
        "label": i % 4,
    }
    for i in range(12)
]
TASK = """\
task: words
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: label
metric_list:
  - metric: acc
  - metric: acc_norm
"""

pytestmark = pytest.mark.clients


def test_a_multiple_choice_task_scores_what_the_network_itself_says(environment, tmp_path):
    with own_home(tmp_path):
        folder = in_hub_cache("tiny/random", lambda folder: random_model(folder, context=2048, ends=True))
        server = ServerProcess(tmp_path, "--model", "tiny/random")
    file, tasks, results = tmp_path / "words.jsonl", tmp_path / "tasks", tmp_path / "results"
    file.write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    tasks.mkdir()
    (tasks / "words.yaml").write_text(TASK.format(file=file))
    evaluated = environment("evaluation")
    arguments = f"model=tiny/random,base_url={server.base_url}/completions,num_concurrent=2,max_retries=1"
    try:
        evaluated.run(
            evaluated.folder / "bin" / "lm_eval",
            *("--model", "local-completions", "--model_args", arguments, "--batch_size", "5"),
            *("--tasks", "words", "--include_path", tasks, "--output_path", results, "--log_samples"),
            variables={"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        )
    finally:
        server.close()
    [samples] = results.glob("**/samples_words_*.jsonl")
    network, _ = load(str(folder))
    found = [json.loads(line) for line in samples.read_text().splitlines()]
    assert len(found) == len(QUESTIONS)
    for sample in found:
        for (context, choice), (score, greedy) in zip(
            [request[:2] for request in _arguments(sample)], sample["filtered_resps"], strict=True
        ):
            expected = _score(network, context, choice)
            assert float(score) == pytest.approx(expected[0], abs=1e-4)
            assert str(greedy) == str(expected[1])


def _arguments(sample):
    """The context and the choice of each request of a sample."""
    given = sample["arguments"]
    return [list(each.values()) for each in given.values()] if isinstance(given, dict) else given


def _score(network, context, choice):
    """The log probability of `choice` after `context`, and whether it is what greedy decoding writes."""
    before, tokens = [list(text.encode()) for text in (context, context + choice)]
    logits = network(mx.array([tokens]))[0].astype(mx.float32)
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    places = range(len(before), len(tokens))
    return (
        sum(logprobs[i - 1, tokens[i]].item() for i in places),
        all(logprobs[i - 1].argmax().item() == tokens[i] for i in places),
    )
