"""What the server's own documentation says (/docs, /openapi.json): shapes and examples."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from .requests import PIXEL, ScoreRequest

DESCRIPTION = (
    "Judges of text-to-image models. A failed item has a `status`, a `reason` and `score: null` in a 200; it "
    "never has a number. Send images in base64 or as uploads: URLs are not fetched, and paths are not read."
)
_ANSWER: dict[str, Any] = {
    "results": [{"id": "1", "status": "ok", "reason": None, "score": 8.5, "scores": {"overall": 8.5}}]
}
_FAILED: dict[str, Any] = {
    "id": "2",
    "status": "image_error",
    "reason": "its base64 is broken",
    "score": None,
    "scores": {},
}


class Result(BaseModel):
    """One item's result."""

    id: str
    status: str
    reason: str | None
    score: float | None
    scores: dict[str, float | None]
    answers: list[dict[str, Any]] | None = None


class ScoreResponse(BaseModel):
    """Results in the order of the items."""

    results: list[Result]
    judge: dict[str, Any]
    usage: dict[str, Any]


def _schema() -> dict[str, Any]:
    """A request's, with its parts inside: FastAPI does not know them."""
    schema = ScoreRequest.model_json_schema()
    parts = schema.pop("$defs")
    item = parts["AskedItem"]
    item["properties"]["questions"] = {"type": ["array", "null"], "items": parts["AskedQuestion"], "default": None}
    schema["properties"]["items"] = {"type": "array", "items": item}
    return schema


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


_FORM = {
    "type": "object",
    "required": ["image", "prompt"],
    "properties": {
        "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "prompt": {"type": "array", "items": {"type": "string"}},
        "reference_image": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "id": {"type": "array", "items": {"type": "string"}},
        "judge": _text("one of GET /judges"),
        "explain": _text("true for answers"),
    },
}
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _schema(),
                "examples": {
                    "one image": {"value": {"items": [{"id": "1", "image": PIXEL, "prompt": "a red square"}]}},
                    "with answers": {
                        "value": {
                            "items": [{"image": f"data:image/png;base64,{PIXEL}", "prompt": "a red square"}],
                            "explain": True,
                        }
                    },
                },
            },
            "multipart/form-data": {"schema": _FORM},
        },
    }
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ScoreResponse,
        "content": {"application/json": {"example": {**_ANSWER, "results": [*_ANSWER["results"], _FAILED]}}},
    },
    401: {"description": "The key is wrong or missing"},
    413: {"description": "The body is too large"},
    422: {"description": "Malformed: a field is missing or has another type, or there is no such judge"},
    429: {"description": "The queue is full; Retry-After says when to send it again"},
    502: {"description": "The judge cannot judge now: its own server refuses it"},
}
