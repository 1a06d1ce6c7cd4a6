"""The settings file: its values, and sections of plugins."""

from __future__ import annotations

from mlxk_core._host.specs import RESERVED_SECTIONS, SettingsSection
from mlxk_core._settings.sections import Field, ModelSettings, fields_of, setting
from mlxk_core._settings.settings import Settings, SettingsError, parse_settings, settings_file

__all__ = [
    "RESERVED_SECTIONS",
    "Field",
    "ModelSettings",
    "Settings",
    "SettingsError",
    "SettingsSection",
    "fields_of",
    "parse_settings",
    "setting",
    "settings_file",
]
