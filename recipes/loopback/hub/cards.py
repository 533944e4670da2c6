"""What the Hub checks about a card before it takes it; only the rules that matter to a release."""

from __future__ import annotations

import re
from typing import Any

import yaml

COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
SDKS = ("gradio", "docker", "static", "streamlit")
_HEAD = re.compile(r"\A(?:\ufeff)?\s*+---[^\S\n]*+\n(.*?)\n---[^\S\n]*+(?:\n|\Z)", re.S)
Message = dict[str, str]


def front_matter(text: str) -> dict[str, Any] | None:
    """YAML head of a card, None where there is none. Raises ValueError when it cannot be read."""
    match = _HEAD.match(text.replace("\r\n", "\n"))
    if not match:
        return None
    try:
        metadata = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise ValueError(f"YAML: {error}") from error
    if metadata is not None and not isinstance(metadata, dict):
        raise ValueError("metadata is not a mapping")
    return metadata or {}


def validate_card(text: str, kind: str) -> tuple[list[Message], list[Message]]:
    """(errors, warnings) in the form of POST /api/validate-yaml."""
    try:
        metadata = front_matter(text)
    except ValueError as error:
        return [{"message": str(error)}], []
    if metadata is None:
        return [], [{"message": "empty or missing yaml metadata in repo card"}]
    errors = _space_errors(metadata) if kind == "space" else []
    for key in ("tags", "language", "datasets", "metrics", "base_model"):
        if not isinstance(metadata.get(key), str | list | None):
            errors.append(f'"{key}" must be a string or an array')
    if kind == "model" and metadata.get("base_model_relation") not in (
        None,
        "adapter",
        "finetune",
        "merge",
        "quantized",
    ):
        errors.append('"base_model_relation" must be one of [adapter, merge, quantized, finetune]')
    warnings = ["license is not set"] if kind != "space" and "license" not in metadata else []
    return [{"message": error} for error in errors], [{"message": warning} for warning in warnings]


def _space_errors(metadata: dict[str, Any]) -> list[str]:
    errors = [
        f'"{key}" must be one of [{", ".join(COLORS)}]'
        for key in ("colorFrom", "colorTo")
        if key in metadata and metadata[key] not in COLORS
    ]
    if "sdk" not in metadata:
        errors.append('"sdk" is required')
    elif metadata["sdk"] not in SDKS:
        errors.append('"sdk" must be one of [gradio, docker, static, streamlit]')
    if len(str(metadata.get("short_description", ""))) > 60:
        errors.append('"short_description" length must be less than or equal to 60 characters long')
    return errors
