"""Write `references.json`: what transformers and sentence-transformers compute for the tiny encoders.

They and PyTorch are not dependencies of the project. In an environment of its own:

    python -m venv /tmp/references
    /tmp/references/bin/pip install torch transformers==5.24.0 sentence-transformers==6.2.0
    /tmp/references/bin/python -m tests.encoders.make_references
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer

from tests.encoders.tiny_encoders import CASES, PAIRS, REFERENCES, TEXTS, token_inputs, write_encoder

_NOMIC_NAMES = {
    "embeddings.word_embeddings.weight": (CASES["nomic"].config["vocab_size"], 32),
    "embeddings.token_type_embeddings.weight": (2, 32),
    "emb_ln.weight": (32,),
    "emb_ln.bias": (32,),
}
_NOMIC_LAYER = {
    "attn.Wqkv.weight": (96, 32),
    "attn.out_proj.weight": (32, 32),
    "mlp.fc11.weight": (40, 32),
    "mlp.fc12.weight": (40, 32),
    "mlp.fc2.weight": (32, 40),
    **{f"norm{number}.{part}": (32,) for number in (1, 2) for part in ("weight", "bias")},
}


def main() -> None:
    found: dict[str, Any] = {
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__.partition("+")[0]}
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            found[name] = reference(Path(folder) / name, name)
            print(name, len(found[name]["shapes"]), "tensors")
    REFERENCES.write_text(json.dumps(_rounded(found), separators=(",", ":")) + "\n", encoding="utf-8")


@torch.no_grad()
def reference(folder: Path, name: str) -> dict[str, Any]:
    """Return the names and shapes of a model's tensors, its last hidden states, pooled vectors and scores."""
    case = CASES[name]
    shapes = _shapes(folder, name)
    write_encoder(folder, name, shapes, reference=True)
    model, info = getattr(transformers, case.auto).from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", dtype=torch.float32
    )
    assert not info["missing_keys"] - {"pooler.dense.weight", "pooler.dense.bias"}, info
    assert not info["unexpected_keys"], info
    model.eval()
    if name == "qwen3-reranker":
        return {"shapes": shapes, "scores": _answers(model, folder)}
    inputs = token_inputs(name)
    states = [model(torch.tensor([tokens]), output_hidden_states=True).hidden_states[-1][0] for tokens in inputs]
    if name.endswith("-pairs"):
        encoder = CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Sigmoid())
        return {"shapes": shapes, "scores": encoder.predict(list(PAIRS)).tolist()}
    if case.auto == "AutoModel":
        last = [model(torch.tensor([tokens])).last_hidden_state[0] for tokens in inputs]
    else:
        last = states
    found = {
        "shapes": shapes,
        "states": last[1].tolist(),
        "cls": [each[0].tolist() for each in last],
        "mean": [each.mean(dim=0).tolist() for each in last],
        "last": [each[-1].tolist() for each in last],
    }
    if name != "nomic-long":  # transformers keeps the angles of the longest text that it has read
        sentences = SentenceTransformer(str(folder), device="cpu")
        found["texts"] = sentences.encode(list(TEXTS), batch_size=1).tolist()
        found["queries"] = sentences.encode(list(TEXTS), prompt_name="query", batch_size=1).tolist()
    return found


def _answers(model: Any, folder: Path) -> list[float]:
    """Return the probability of "yes" against "no" for each pair, asked as Qwen3-Reranker's model card says."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = []
    for query, document in PAIRS:
        text = (
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
            'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
            "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
            f"<Query>: {query}\n<Document>: {document}"
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        )
        tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        yes, no = (tokenizer.convert_tokens_to_ids(answer) for answer in ("yes", "no"))
        logits = model(tokens).logits[0, -1]
        found.append(torch.softmax(logits[[no, yes]], dim=0)[1].item())
    return found


def _shapes(folder: Path, name: str) -> dict[str, list[int]]:
    """Return the tensors of the files: as transformers writes them, but for Nomic as the published files have them."""
    if name.startswith("nomic"):
        layers = {f"encoder.layers.{n}.{key}": shape for n in range(3) for key, shape in _NOMIC_LAYER.items()}
        return {key: list(shape) for key, shape in {**_NOMIC_NAMES, **layers}.items()}
    case = CASES[name]
    settings = {key: value for key, value in case.config.items() if key not in ("model_type", "architectures")}
    config = transformers.AutoConfig.for_model(case.config["model_type"], **settings)
    getattr(transformers, case.auto).from_config(config).save_pretrained(folder)
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        return {key: list(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
