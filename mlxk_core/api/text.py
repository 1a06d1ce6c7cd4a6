"""Markers and JSON in streamed text, white space at their edges, paths in messages, and sizes, counts and durations."""

from __future__ import annotations

from mlxk_core._text.edge_trimmer import EdgeTrimmer
from mlxk_core._text.json_strings import ends_in_string
from mlxk_core._text.markers import MarkerMatch, Markers, MarkerScanner, Piece, markers
from mlxk_core._text.path_hiding import without_paths
from mlxk_core._text.units import human_duration, human_size, parse_duration, plural

__all__ = [
    "EdgeTrimmer",
    "MarkerMatch",
    "MarkerScanner",
    "Markers",
    "Piece",
    "ends_in_string",
    "human_duration",
    "human_size",
    "markers",
    "parse_duration",
    "plural",
    "without_paths",
]
