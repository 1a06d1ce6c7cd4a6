"""What a model is, is told from its files: config first, never from its name alone."""

import pytest

from mlxk_core._models.classify import Facts

TEXT = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
CARD = "---\n%s\n---\n# A model\n- mlx\nlibrary_name: mlx\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"config.json": {**TEXT, "quantization": {"bits": 4, "group_size": 64}}}, "MLX"),
        ({"config.json": TEXT}, "safetensors"),
        ({"config.json": {**TEXT, "quantization_config": {"quant_method": "gptq", "bits": 4}}}, "safetensors"),
        ({"README.md": CARD % "library_name: mlx"}, "MLX"),
        ({"README.md": CARD % "tags:\n- chat\n- mlx\n- x"}, "MLX"),
        ({"README.md": CARD % "tags: [chat, mlx]"}, "MLX"),
        ({"README.md": CARD % "tags:\n- mlx-like\nlanguages:\n- mlx"}, "safetensors"),
        ({"README.md": "# No front matter\n- mlx\n"}, "safetensors"),
        ({"config.json": b"{ broken"}, "safetensors"),
    ],
)
def test_the_framework_is_determined_by_evidence_next_to_safetensors(folder, safetensors, files, expected):
    files = {name: data.encode() if isinstance(data, str) else data for name, data in files.items()}
    assert Facts(folder({"model.safetensors": safetensors(), **files})).framework == expected


def test_weights_that_mlx_wrote_carry_its_mark(folder, safetensors):
    assert Facts(folder({"model.safetensors": safetensors(format="mlx")})).framework == "MLX"
    assert Facts(folder({"model.safetensors": safetensors(format="pt")})).framework == "safetensors"


def test_a_name_is_not_evidence(folder, safetensors):
    files = {"config.json": TEXT, "model.safetensors": safetensors()}
    assert Facts(folder(files, name="mlx-community-embed-chat-vision-mlx")).framework == "safetensors"
    assert Facts(folder(files, name="mlx-community-embed-chat-vision-mlx")).type == "base"


def test_the_form_of_the_weights_tells_the_rest(folder, gguf):
    assert Facts(folder({"m-Q4_0.gguf": gguf()}, name="a")).framework == "GGUF"
    assert Facts(folder({"pytorch_model.bin": b"x"}, name="b")).framework == "PyTorch"
    assert Facts(folder({"weights.npz": b"x"}, name="c")).framework == "MLX"
    assert Facts(folder({"config.json": TEXT}, name="d")).framework == "unknown"


def config(*classes: str, **more) -> dict:
    return {"config.json": {"model_type": "x", "architectures": list(classes), **more}}


@pytest.mark.parametrize(
    ("files", "expected", "can"),
    [
        (config("LlamaForCausalLM"), "base", ["text-generation"]),
        (config(), "base", ["text-generation"]),
        (config("T5ForConditionalGeneration"), "base", ["text-generation"]),
        (config("GPT2LMHeadModel"), "base", ["text-generation"]),
        ({**config("LlamaForCausalLM"), "chat_template.jinja": TEMPLATE}, "chat", ["text-generation", "chat"]),
        (
            {**config("LlamaForCausalLM"), "tokenizer_config.json": {"chat_template": "{{ tools }}"}},
            "chat",
            ["text-generation", "chat", "tools"],
        ),
        (
            {**config("Qwen3ForCausalLM"), "chat_template.jinja": TEMPLATE, "modules.json": b"[]"},
            "embedding",
            ["embeddings"],
        ),
        (
            {
                **config("Qwen3ForCausalLM"),
                "chat_template.jinja": TEMPLATE,
                "README.md": CARD % "pipeline_tag: feature-extraction",
            },
            "embedding",
            ["embeddings"],
        ),
        (config("BertModel"), "embedding", ["embeddings"]),
        (config("XLMRobertaModel"), "embedding", ["embeddings"]),
        (config("NomicBertModel"), "embedding", ["embeddings"]),
        (config("ModernBertForMaskedLM"), "embedding", ["embeddings"]),
        (config("BertForSequenceClassification"), "classifier", []),
        (
            {**config("Gemma3ForConditionalGeneration", vision_config={"x": 1}), "chat_template.jinja": TEMPLATE},
            "vision",
            ["text-generation", "chat", "vision"],
        ),
        (config("LlavaForConditionalGeneration", image_token_index=0), "vision", ["text-generation", "vision"]),
        (config("SiglipModel", vision_config={"x": 1}), "vision", ["vision"]),
        (config("MistralForCausalLM", vision_config=None, audio_config=None), "base", ["text-generation"]),
        (
            {
                **config("Gemma3nForConditionalGeneration", vision_config={"x": 1}, audio_config={"x": 1}),
                "chat_template.jinja": TEMPLATE,
            },
            "vision",
            ["text-generation", "chat", "vision", "audio"],
        ),
        (
            {**config("Qwen2AudioForConditionalGeneration", audio_config={"x": 1}), "chat_template.jinja": TEMPLATE},
            "audio",
            ["text-generation", "chat", "audio"],
        ),
        (config("WhisperForConditionalGeneration", num_mel_bins=80), "audio", ["audio"]),
        ({"config.json": {"model_type": "whisper", "n_audio_ctx": 1500}}, "audio", ["audio"]),
        (config("ResNetForImageClassification"), "vision", ["vision"]),
        (config("SomethingNew"), "unknown", []),
        ({"model_index.json": {}}, "image", []),
        ({}, "unknown", []),
        ({"config.json": b"{ broken"}, "unknown", []),
        ({"config.json": {"architectures": "LlamaForCausalLM", "model_type": 7}}, "unknown", []),
    ],
)
def test_type_and_capabilities_are_determined_by_the_config(folder, safetensors, files, expected, can):
    files = {name: data.encode() if isinstance(data, str) else data for name, data in files.items()}
    model = folder({"model.safetensors": safetensors(), **files})
    assert Facts(model).type == expected
    assert list(Facts(model).capabilities) == can


@pytest.mark.parametrize(
    ("metadata", "expected", "can"),
    [
        ({}, "base", ["text-generation"]),
        ({"tokenizer.chat_template": TEMPLATE}, "chat", ["text-generation", "chat"]),
        ({"general.architecture": "nomic-bert-moe"}, "embedding", ["embeddings"]),
        ({"general.architecture": "jina-bert-v2"}, "embedding", ["embeddings"]),
        ({"general.architecture": "gemma-embedding"}, "embedding", ["embeddings"]),
        (
            {"general.architecture": "qwen3", "qwen3.pooling_type": 3, "tokenizer.chat_template": TEMPLATE},
            "embedding",
            ["embeddings"],
        ),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 4}, "classifier", []),
    ],
)
def test_a_gguf_header_tells_the_same(folder, gguf, metadata, expected, can):
    files = {"m-Q4_0.gguf": gguf(metadata)}
    model = folder(files)
    assert (Facts(model).type, list(Facts(model).capabilities)) == (expected, can)
    assert Facts(model).architecture == metadata.get("general.architecture", "llama")
    several = folder({**files, "m-Q8_0.gguf": gguf(metadata)}, name="several")
    assert (Facts(several).type, list(Facts(several).capabilities)) == (expected, can)


def test_a_damaged_header_is_ignored_without_an_error(folder):
    facts = Facts(folder({"m-Q4_0.gguf": b"GGUF"}))
    assert (facts.framework, facts.type, facts.capabilities, facts.architecture) == ("GGUF", "unknown", (), None)
