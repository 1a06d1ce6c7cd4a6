"""Models on disk: names, files, health, quantization, context length."""

from __future__ import annotations

from mlxk_core._models.budget import model_context_length
from mlxk_core._models.cache import Repository, folder_name, hub_cache, repositories
from mlxk_core._models.classify import Facts
from mlxk_core._models.files import regular, shard, weight_format
from mlxk_core._models.gguf import BLOCKS, GGUFHeader, GGUFTensor, read_header
from mlxk_core._models.health import Health, Problem, check, unfinished
from mlxk_core._models.model import AddedToken, File, Model
from mlxk_core._models.quantization_config import BLOCK_FORMATS, MLX, Declaration, declared
from mlxk_core._models.references import NameReference, PathReference, parse
from mlxk_core._models.resolve import Resolver
from mlxk_core._models.safetensors import Tensor
from mlxk_core._models.variants import gguf_variants

__all__ = [
    "BLOCKS",
    "BLOCK_FORMATS",
    "MLX",
    "AddedToken",
    "Declaration",
    "Facts",
    "File",
    "GGUFHeader",
    "GGUFTensor",
    "Health",
    "Model",
    "NameReference",
    "PathReference",
    "Problem",
    "Repository",
    "Resolver",
    "Tensor",
    "check",
    "declared",
    "folder_name",
    "gguf_variants",
    "hub_cache",
    "model_context_length",
    "parse",
    "read_header",
    "regular",
    "repositories",
    "shard",
    "unfinished",
    "weight_format",
]
