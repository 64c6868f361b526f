# SPDX-License-Identifier: GPL-2.0-only
"""Lists kept as data: entries of YAML files, each with an id of its own."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

# What the schemas of entries have in common.
TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1}
RELEASE: Mapping[str, Any] = {"type": "string", "pattern": r"^\d+\.\d+(\.\d+)?$"}


def read(paths: Iterable[Path], schema: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
    """The entries of all ``paths``; ``what`` they are, in the plural, is for the messages.

    Raises ValueError for a file that breaks the schema and for an id used twice.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        try:
            entries = yaml.safe_load(path.read_text(encoding="utf-8"))
            jsonschema.validate(entries, schema)
        except (yaml.YAMLError, jsonschema.ValidationError) as error:
            reason = str(error)
            if isinstance(error, jsonschema.ValidationError):
                reason = f"{error.json_path}: {error.message}"
            raise ValueError(f"{path} is no list of {what}: {reason}") from error
        for entry in entries:
            if entry["id"] in found:
                raise ValueError(f"{path}: there are two {what} {entry['id']}")
            found[entry["id"]] = entry
    return list(found.values())
