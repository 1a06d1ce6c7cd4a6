"""schemathesis: requests generated from /openapi.json. None may fail the server; every response is as described."""

import itertools
import os

import schemathesis
from hypothesis import HealthCheck, Phase, settings

ORIGIN = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
PATIENCE = 300  # seconds: the first request loads MLX, on a machine that others use too
MODELS = itertools.cycle(["tiny/talker", "tiny/narrow", "tiny/thinker", "tiny/caller", "tiny/json"])
STREAMED = itertools.cycle([True, False])

schema = schemathesis.openapi.from_url(f"{ORIGIN}/openapi.json")
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.CHECKS.get_one("status_code_conformance"),
    schemathesis.checks.CHECKS.get_one("content_type_conformance"),
    schemathesis.checks.CHECKS.get_one("response_schema_conformance"),
]


@schema.parametrize()
@settings(
    max_examples=8,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_operation(case):
    if case.path == "/v1/models/{model}" and len(str(case.path_parameters["model"])) % 2:
        case.path_parameters["model"] = "tiny%2Ftalker"
    if isinstance(case.body, dict):
        make_sense_of(case.body)
    case.call_and_validate(checks=CHECKS, timeout=PATIENCE)


def make_sense_of(body):
    """What the document cannot say, or hypothesis would never guess: so that most requests reach an engine."""
    if isinstance(body.get("model"), str) and body["model"]:
        body["model"], body["stream"] = next(MODELS), next(STREAMED)
    if body.get("max_tokens") is None:
        body["max_tokens"] = 12
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict) and message.get("content") is None:
            message["content"] = "Hi"
        if isinstance(message, dict) and isinstance(message.get("content"), list):
            for part in message["content"]:
                if isinstance(part, dict):
                    part.update(type="text", text=str(part.get("text")))
        if isinstance(message, dict) and message.get("role") == "tool":
            message.setdefault("tool_call_id", "call_1")
    if body.get("logprobs") is not True and "messages" in body:
        body.pop("top_logprobs", None)
