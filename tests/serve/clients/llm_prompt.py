"""Simon Willison's llm, with a model in extra-openai-models.yaml."""

import os
import pathlib
import subprocess
import sys
import tempfile

base_url, model = sys.argv[1:]
with tempfile.TemporaryDirectory() as home:
    pathlib.Path(home, "extra-openai-models.yaml").write_text(
        f"- model_id: here\n  model_name: {model}\n  api_base: {base_url}\n"
    )
    environment = {**os.environ, "LLM_USER_PATH": home, "OPENAI_API_KEY": "unused"}
    for options in ([], ["--no-stream"], ["-s", "Be brief."]):
        done = subprocess.run(
            [sys.executable, "-m", "llm", "-m", "here", *options, "Hi"],
            env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.stdout.strip() == "Hello, world.", done.stderr
print("done")
