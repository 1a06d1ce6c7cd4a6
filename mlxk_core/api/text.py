"""Markers and JSON in streamed text, long messages and paths in them, white space at edges, sizes, durations, dates."""

from __future__ import annotations

from mlxk_core._text.edge_trimmer import EdgeTrimmer
from mlxk_core._text.json_shape import JsonShape, json_shape
from mlxk_core._text.json_strings import ends_in_string
from mlxk_core._text.markers import MarkerMatch, Markers, MarkerScanner, Piece, markers
from mlxk_core._text.moments import moment_of
from mlxk_core._text.path_hiding import without_paths
from mlxk_core._text.shorten import shorten_middle
from mlxk_core._text.units import human_duration, human_size, parse_duration, plural

__all__ = [
    "EdgeTrimmer",
    "JsonShape",
    "MarkerMatch",
    "MarkerScanner",
    "Markers",
    "Piece",
    "ends_in_string",
    "human_duration",
    "human_size",
    "json_shape",
    "markers",
    "moment_of",
    "parse_duration",
    "plural",
    "shorten_middle",
    "without_paths",
]
