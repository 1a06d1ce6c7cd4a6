"""What a process with MLX in it leaves behind: a clean exit, its limits as they were, no connections, no noise."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from mlxk_testing.tiny_models import LLAMA3_ROPE, random_model

PRELUDE = """
import resource, sys, threading
from pathlib import Path
before = resource.getrlimit(resource.RLIMIT_NOFILE)
from mlxk_core._generation.engine import EngineContext, Row
from mlxk_core._generation.request import Sampling
from mlxk_core._models.model import Model

def no_network(event, arguments):
    if event == "socket.connect":
        raise SystemExit(f"a connection to {arguments[1]}")

sys.addaudithook(no_network)

def on_a_thread(steps):
    from mlxk_mlx.loading.load import load
    last_acts = []
    def main():
        try:
            context = EngineContext(
                alive=lambda: None, at_thread_exit=last_acts.append, cache_bytes=1 << 20, concurrency=4
            )
            engine = load(Model(name="tiny", path=Path(sys.argv[1])), context)
            for id in (1, 2):
                engine.add(Row(id=id, prompt=[72, 105], max_tokens=50, sampling=Sampling(temperature=0.5, top_p=0.9)))
            for _ in range(steps):
                engine.step()
            engine.close()
        finally:
            for act in set(last_acts):
                act()
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
"""


@pytest.fixture
def process(tmp_path):
    folder = random_model(tmp_path / "tiny", config=LLAMA3_ROPE)

    def run(code: str, *, before: str = "") -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(PRELUDE + textwrap.dedent(code))
        command = f'{before}exec "$0" "$@"'
        return subprocess.run(
            ["/bin/sh", "-c", command, sys.executable, str(script), str(folder)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
        )

    return run


@pytest.mark.parametrize("steps", [0, 5], ids=["before the first token", "in the middle"])
def test_a_process_that_generated_on_a_thread_ends_cleanly_and_quietly(process, steps):
    done = process(
        f"""
        on_a_thread({steps})
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard == before[1] and soft >= before[0], "importing mlx_lm lowers the limits on open files"
        print("done")
        """,
        before="ulimit -n 20000 2>/dev/null || true; ",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_load_that_fails_leaves_a_process_that_ends_cleanly(process):
    done = process(
        """
        (Path(sys.argv[1]) / "tokenizer.json").write_text("{")
        threading.excepthook = lambda arguments: print(type(arguments.exc_value).__name__)
        on_a_thread(1)
        """
    )
    assert (done.returncode, done.stdout) == (0, "BrokenModel\n")


def test_a_low_limit_on_open_files_is_no_obstacle(process):
    assert process("on_a_thread(1)", before="ulimit -n 1024; ").returncode == 0


def test_a_working_folder_that_was_deleted_is_no_obstacle(process):
    done = process("on_a_thread(1)", before='mkdir gone; cd gone; rmdir "$PWD"; ')
    assert (done.returncode, done.stderr) == (0, "")


def test_the_choice_of_a_backend_imports_nothing_heavy(process):
    done = process(
        """
        from mlxk_mlx.plugin import mlxk_backends, mlxk_quantization_detectors
        [backend], [detector] = mlxk_backends(), mlxk_quantization_detectors()
        model = Model(name="tiny", path=Path(sys.argv[1]))
        assert backend.accepts(model).accepted
        list(detector.detect(model))
        heavy = {"mlx", "mlx_lm", "transformers", "numpy", "huggingface_hub", "tokenizers", "jinja2"}
        print(sorted(heavy & sys.modules.keys()))
        """
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_nothing_that_the_plugins_name_imports_mlx_before_it_is_started():
    code = """
    import sys
    from mlxk_core._host.host import Host
    host = Host.discover()
    for _, spec in host.contributions():
        if not hasattr(spec, "target"):
            continue
        host.load(spec.target)
        assert "mlx.core" not in sys.modules, spec
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS has its own BLAS")
@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc")
def test_no_blas_starts_threads(process):
    """Where the system has none left, OpenBLAS sends the process SIGINT."""
    code = """
        import os
        from mlxk_mlx.loading import runtime
        runtime.start()
        import numpy
        print(len(os.listdir("/proc/self/task")))
    """
    assert process(code).stdout == process(code, before="OPENBLAS_NUM_THREADS=1 ").stdout


def test_the_service_loads_a_model_onto_the_fast_blas(tmp_path):
    pytest.importorskip("mlxk_openblas")
    random_model(tmp_path)
    code = """
    import sys
    from pathlib import Path
    from mlxk_core._generation.service import GenerationService
    from mlxk_core._host.host import Host
    from mlxk_core._models.model import Model
    with GenerationService(Host.discover()) as service:
        service.preload(Model(name="tiny", path=Path(sys.argv[1])))
        from mlxk_mlx.loading import runtime
        machine = runtime.start()
        print(not machine.cpu or machine.fast_blas is not None)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert done.stdout == "True\n"
