"""The settings file: its values, and sections of plugins."""

from __future__ import annotations

from mlxk_core._settings.sections import Field, ModelSettings, SettingsSection, fields_of, setting
from mlxk_core._settings.settings import RESERVED, Settings, SettingsError, parse_settings, settings_file

__all__ = [
    "RESERVED",
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
