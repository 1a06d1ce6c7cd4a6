"""The settings file: its values, and sections of plugins."""

from __future__ import annotations

from mlxk_core._host.specs import RESERVED_SECTIONS, SettingsSection
from mlxk_core._settings.sections import Field, ModelSettings, fields_of, setting
from mlxk_core._settings.settings import (
    SettingOrigin,
    Settings,
    SettingsError,
    parse_settings,
    read_text,
    settings_file,
)
from mlxk_core._settings.settings_warnings import alias_conflict, settings_warnings, temperature_warning

__all__ = [
    "RESERVED_SECTIONS",
    "Field",
    "ModelSettings",
    "SettingOrigin",
    "Settings",
    "SettingsError",
    "SettingsSection",
    "alias_conflict",
    "fields_of",
    "parse_settings",
    "read_text",
    "setting",
    "settings_file",
    "settings_warnings",
    "temperature_warning",
]
