"""Models on disk: names, files, health, quantization, context length."""

from __future__ import annotations

from mlxk_core._models.bounded_json import count_values, parse_json
from mlxk_core._models.cache import (
    CACHE_VARIABLES,
    Repository,
    cache_folder_name,
    cached_repositories,
    check_hub_cache,
    hub_cache,
    unreadable_cache,
)
from mlxk_core._models.classify import Facts
from mlxk_core._models.declared_stops import StopToken, listed_stop_tokens, native_stop_tokens
from mlxk_core._models.file_identity import FileIdentity, FileIdentityCache, file_identity
from mlxk_core._models.files import (
    Shard,
    leads_outside,
    open_file,
    parse_shard,
    read_small_file,
    regular_file,
    weight_format,
)
from mlxk_core._models.gguf import GGUF_BLOCKS, GGUFHeader, GGUFTensor, read_gguf_header
from mlxk_core._models.health import Health, check_health
from mlxk_core._models.health_checks import Problem, partial_downloads
from mlxk_core._models.in_use import in_use
from mlxk_core._models.model import AddedToken, File, Model
from mlxk_core._models.quantization_config import (
    FLOAT_BLOCK_FORMATS,
    MLX_METHOD,
    QuantizationDeclaration,
    declared_quantization,
)
from mlxk_core._models.references import (
    DEFAULT_OWNER,
    NameReference,
    PathReference,
    full_name,
    natural_key,
    parse_reference,
    short_name,
)
from mlxk_core._models.resolve import Resolver
from mlxk_core._models.safetensors import Tensor
from mlxk_core._models.similar_names import similar_name
from mlxk_core._models.token_budget import model_context_length
from mlxk_core._models.variants import Variant, gguf_encoding, gguf_variants

__all__ = [
    "CACHE_VARIABLES",
    "DEFAULT_OWNER",
    "FLOAT_BLOCK_FORMATS",
    "GGUF_BLOCKS",
    "MLX_METHOD",
    "AddedToken",
    "Facts",
    "File",
    "FileIdentity",
    "FileIdentityCache",
    "GGUFHeader",
    "GGUFTensor",
    "Health",
    "Model",
    "NameReference",
    "PathReference",
    "Problem",
    "QuantizationDeclaration",
    "Repository",
    "Resolver",
    "Shard",
    "StopToken",
    "Tensor",
    "Variant",
    "cache_folder_name",
    "cached_repositories",
    "check_health",
    "check_hub_cache",
    "count_values",
    "declared_quantization",
    "file_identity",
    "full_name",
    "gguf_encoding",
    "gguf_variants",
    "hub_cache",
    "in_use",
    "leads_outside",
    "listed_stop_tokens",
    "model_context_length",
    "native_stop_tokens",
    "natural_key",
    "open_file",
    "parse_json",
    "parse_reference",
    "parse_shard",
    "partial_downloads",
    "read_gguf_header",
    "read_small_file",
    "regular_file",
    "short_name",
    "similar_name",
    "unreadable_cache",
    "weight_format",
]
