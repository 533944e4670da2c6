"""A server that speaks a dialect of the OpenAI chat protocol: `python -m recipes.loopback.dialects --name azure`.

Each dialect is what users of judges reported of a real server, rebuilt: what it refuses, in its words and with its
status, and in which shape it replies. Questions of `direct+` (VIEScore) and of the structured protocol are answered
with fixed scores, so that a score which is not the server's is seen. Address: see `recipes.loopback.http`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recipes.loopback.http import REQUEST_HEADERS, Response, serve

SCORE, NATURALNESS, ARTIFACTS = 9, 4, 5  # of every verdict; the judgement is sqrt(9 x 4) = 6
KEY = "sk-loopback-0123456789"
Request = Mapping[str, Any]
_SCHEMA_WORDS = (
    "This response_format type is unavailable now",
    "Invalid value: 'json_schema'. Supported values are: 'text' and 'json_object'.",
    "structured output is not supported by this model",
    "guided decoding backend failed to compile the grammar",
)


def verdict(request: Request) -> str:
    """What the model says to a question of `direct+`, or of the structured protocol."""
    text = _text(request)
    if "<questions>" in text:
        about = {"answer": "yes", "matches": True, "explanation": "It is there.", "score": SCORE}
        questions = json.loads(text.partition("<questions>\n")[2].partition("\n</questions>")[0])
        answers = [{"question_id": question["id"], **about} for question in questions]
        summary = {"explanation": "As described.", "score": SCORE}
        return json.dumps({"answers": answers, "summaries": {"intrinsic": summary, "overall": summary}})
    if "<prompt>" in text and not _has_image(request):
        question = {"id": "q1", "aspect": "intrinsic", "entities": ["it"], "text": "Is it there?", "expected": "yes"}
        return json.dumps({"questions": [{**question, "depends_on": []}]})
    if "<prompt>" in text:
        return json.dumps({"explanation": "As described.", "score": SCORE})
    if "naturalness" in text:
        return json.dumps({"explanation": "It looks so.", "naturalness": NATURALNESS, "artifacts": ARTIFACTS})
    return "OK."


def completion(text: Any, finish: str = "stop", tokens: int = 20, **message: Any) -> Response:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 100, "completion_tokens": tokens, "total_tokens": 100 + tokens}
    head = {"id": "c", "object": "chat.completion", "created": 0, "model": "loopback"}
    return Response({**head, "choices": [choice], "usage": usage})


def refusal(status: int, message: str, code: Any = None, param: str | None = None, **headers: str) -> Response:
    """An error in OpenAI's shape."""
    error = {"message": message, "code": code, "param": param, "type": "invalid_request_error"}
    return Response({"error": error}, status, {name.replace("_", "-"): value for name, value in headers.items()})


def extra_forbidden(name: str) -> Response:
    """FastAPI's refusal of a field, which repeats what was sent."""
    detail = [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": 1}]
    return Response({"detail": detail}, 422)


@dataclass
class Dialect:
    """One server: `refuse` may answer a request itself, `say` shapes the reply to one that it lets through.

    Attributes:
        reports: what it is rebuilt from.
        path: at which chat completions answer; requests to others are 404.
        headers: that every request must have.
        slots: calls at once; one more is a 429.
    """

    reports: str
    refuse: Callable[[Request, int], Response | None] = lambda request, n: None
    say: Callable[[Request], Response] = lambda request: completion(verdict(request))
    path: str = "/v1/chat/completions"
    headers: Mapping[str, str] = field(default_factory=dict)
    slots: int = 1_000
    models: int = 200


class DialectServer:
    """A dialect over HTTP; `GET /log` gives what was asked: method, path, and the body but for its messages."""

    def __init__(self, dialect: Dialect, seconds: float = 0.0) -> None:
        self.dialect, self.seconds = dialect, seconds
        self.log: list[dict[str, Any]] = []
        self._chats = self._now = 0

    async def handle(self, method: str, path: str, body: bytes) -> Response:
        """Answer one request."""
        import asyncio

        if path == "/log":
            return Response(self.log)
        dialect, headers = self.dialect, REQUEST_HEADERS.get()
        request = json.loads(body) if body.startswith(b"{") else {}
        asked = {name: value for name, value in request.items() if name != "messages"}
        self.log.append({"method": method, "path": path, "headers": dict(headers), "body": asked})
        if any(headers.get(name) != value for name, value in dialect.headers.items()):
            return refusal(401, f"Incorrect API key provided: {headers.get('authorization', '')[-30:]}")
        if path.partition("?")[0].endswith("/models"):
            return Response({"object": "list", "data": [{"id": "m", "object": "model"}]}, dialect.models)
        if path != dialect.path:
            return Response({"detail": "Not Found"}, 404)
        self._chats, self._now = self._chats + 1, self._now + 1
        try:
            if self._now > dialect.slots:
                return refusal(429, "all slots are busy")
            await asyncio.sleep(self.seconds)
            return dialect.refuse(request, self._chats - 1) or dialect.say(request)
        finally:
            self._now -= 1


def _text(request: Request) -> str:
    parts = request["messages"][-1]["content"]
    return parts if isinstance(parts, str) else " ".join(part.get("text", "") for part in parts)


def _has_image(request: Request) -> bool:
    return any(isinstance(message["content"], list) for message in request["messages"])


def _shape(request: Request) -> str:
    return str(request.get("response_format", {}).get("type", "none"))


def _without_schemas(words: str, status: int, objects: bool = False) -> Callable[[Request, int], Response | None]:
    def refuse(request: Request, n: int) -> Response | None:
        allowed = ("none", "json_object") if objects else ("none",)
        return None if _shape(request) in allowed else refusal(status, words)

    return refuse


def _without(name: str, answer: Response) -> Callable[[Request, int], Response | None]:
    return lambda request, n: answer if name in request else None


def _reasoning(request: Request, n: int) -> Response | None:
    if "max_tokens" in request:
        words = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return refusal(400, words, "unsupported_parameter", "max_tokens")
    if request.get("temperature", 1) != 1:
        words = (
            "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) is supported."
        )
        return refusal(400, words, "unsupported_value", "temperature")
    return None


def _thinks(request: Request) -> Response:
    """1,500 tokens of thought before the verdict, cut off where there is no room for both."""
    limit = min(request.get(name, 10**6) for name in ("max_tokens", "max_completion_tokens"))
    if limit < 1_600:
        return completion("", "length", limit, reasoning_content="Let me see. " * 400)
    return completion(verdict(request), tokens=1_600, reasoning_content="Let me see. " * 400)


def _generates_thousands(request: Request) -> Response:
    """llama-cpp-python knows `max_tokens` only, and ignores what it does not know."""
    return completion(verdict(request), tokens=20 if "max_tokens" in request else 4_084)


def _small_context(request: Request, n: int) -> Response | None:
    asked = max(request.get(name, 0) for name in ("max_tokens", "max_completion_tokens"))
    if asked + 100 <= 400:
        return None
    words = f"This model's maximum context length is 400 tokens. However, you requested {asked} output tokens and your "
    return refusal(400, words + "prompt contains at least 100 input tokens.", "context_length_exceeded")


def _long_prompt(words: str) -> Callable[[Request, int], Response | None]:
    """A window of 8,192 tokens, all but filled by one prompt: number 1."""

    def refuse(request: Request, n: int) -> Response | None:
        asked = max(request.get(name, 0) for name in ("max_tokens", "max_completion_tokens"))
        used = 8_172 if "prompt 1" in _text(request) else 900
        return refusal(400, words.format(used=used, total=used + asked)) if used + asked > 8_192 else None

    return refuse


def _capped(request: Request, n: int) -> Response | None:
    asked = max(request.get(name, 0) for name in ("max_tokens", "max_completion_tokens"))
    words = f"max_tokens is too large: {asked}. This model supports at most 300 completion tokens."
    return refusal(400, words, "invalid_value", "max_tokens") if asked > 300 else None


def _moderated(request: Request, n: int) -> Response | None:
    """OpenRouter's answer about one image: the second."""
    if n != 1:
        return None
    error = {"code": 403, "message": "Your input was flagged", "metadata": {"reasons": ["violence"]}}
    return Response({"error": error}, 403)


def _inspected(request: Request, n: int) -> Response | None:
    return refusal(400, "Input data may contain inappropriate content.", "data_inspection_failed") if n == 1 else None


def _litellm(request: Request, n: int) -> Response | None:
    words = "litellm.BadRequestError: Invalid model name passed in model=m. Call `/v1/models` to view available models"
    return Response({"error": {"message": words, "type": "None", "param": "None", "code": "400"}}, 400)


def _replicate(request: Request, n: int) -> Response | None:
    """LiteLLM refuses at once everything that the provider behind it does not take."""
    refused = [name for name in ("max_completion_tokens", "response_format", "seed") if name in request]
    words = f"litellm.UnsupportedParamsError: replicate does not support parameters: {refused}, for model=m. To drop "
    words += "these, set `litellm.drop_params=True` or for proxy:\n\n`litellm_settings:\n drop_params: true`\n"
    return refusal(400, words, "400") if refused else None


def _no_endpoint(request: Request, n: int) -> Response | None:
    """OpenRouter's answer where no provider of the model takes pictures."""
    error = {"message": "No endpoints found that support image input", "code": 404}
    return Response({"error": error}, 404) if _has_image(request) else None


def _blind(request: Request, n: int) -> Response | None:
    words = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
    return refusal(500, words, 500) if _has_image(request) else None


def _typed_parts(request: Request) -> Response:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": '{"explanation": "draft", "score": 1}'}]}
    return completion([thinking, {"type": "text", "text": verdict(request)}])


def _error_with_200(request: Request, n: int) -> Response | None:
    return Response({"error": {"message": "Provider returned error", "code": 502}}) if n == 2 else None


DIALECTS: dict[str, Dialect] = {
    "plain": Dialect("OpenAI's own"),
    "no-v1": Dialect("an address without /v1", path="/chat/completions"),
    "azure": Dialect(
        "lm-evaluation-harness#3200: a deployment's address with a query",
        path="/openai/deployments/m/chat/completions?api-version=2024-10-21",
        headers={"api-key": KEY},
    ),
    "reasoning": Dialect("cvdp_benchmark#29, openbench#50, void#128: temperature and max_tokens refused", _reasoning),
    "thinking": Dialect("agent-native#4861, evalap#139: 1,500 tokens of thought", say=_thinks),
    "thinks-by-rule": Dialect("both: a model that reasons, as large providers serve it", _reasoning, _thinks),
    "deepseek": Dialect("marker#990: response_format", _without_schemas(_SCHEMA_WORDS[0], 400)),
    "objects": Dialect("json_object only", _without_schemas(_SCHEMA_WORDS[1], 400, objects=True)),
    "vllm-words": Dialect(
        "vllm#16880: structured output refused in other words", _without_schemas(_SCHEMA_WORDS[3], 400)
    ),
    "unnamed": Dialect("refused without a word", _without_schemas("Bad Request", 400)),
    "llama-cpp-python": Dialect(
        "llama-cpp-python#1907: HTTP 500 for schemas, the limit ignored",
        _without_schemas("[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type')}]", 500, objects=True),
        _generates_thousands,
    ),
    "mistral": Dialect(
        "void#128, hermes-agent#4748, llm-mistral#39: max_completion_tokens forbidden; typed parts",
        _without("max_completion_tokens", extra_forbidden("max_completion_tokens")),
        _typed_parts,
    ),
    "no-seed": Dialect(
        "langchain-azure#82: seed forbidden",
        _without("seed", refusal(400, "Unrecognized request argument supplied: seed")),
    ),
    "small-context": Dialect("vLLM: a context window smaller than what is asked for", _small_context),
    "capped": Dialect("OpenAI: a model that gives fewer tokens than are asked for", _capped),
    "long-prompt": Dialect(
        "vLLM: one prompt that leaves no room for a reply",
        _long_prompt(
            "This model's maximum context length is 8192 tokens. However, you requested {total} tokens ({used} in the "
            "messages). Please reduce the length of the messages or completion."
        ),
    ),
    "long-prompt-without-numbers": Dialect(
        "llama.cpp: the same, without numbers", _long_prompt("the request exceeds the available context size")
    ),
    "moderated": Dialect("OpenRouter: 403 for one image", _moderated),
    "dashscope": Dialect("Qwen-VL#290: one image refused by inspection", _inspected),
    "error-200": Dialect("litellm#8448, aider#3550: HTTP 200 with an error, once", _error_with_200),
    "always-200": Dialect("the same, always", lambda request, n: Response({"error": {"message": "no", "code": None}})),
    "litellm": Dialect("LiteLLM: an unknown model is a 400", _litellm),
    "replicate": Dialect("LiteLLM's replicate: max_completion_tokens refused, and what else it lacks", _replicate),
    "openrouter-blind": Dialect("OpenRouter: 404 for every image", _no_endpoint),
    "blind": Dialect("llama.cpp without mmproj: 500 for every image", _blind),
    "one-slot": Dialect("one slot, 429 beyond", slots=1),
    "closed": Dialect("another key is wanted", headers={"authorization": f"Bearer {KEY}"}, models=200),
    "elsewhere": Dialect(
        "a redirect", lambda request, n: Response("{}", 307, {"Location": "http://127.0.0.1:9/v1/chat/completions"})
    ),
    "hour": Dialect("Retry-After of an hour", lambda request, n: refusal(429, "quota", Retry_After="3600")),
    "quota": Dialect(
        "no credit left", lambda request, n: refusal(429, "You exceeded your current quota", "insufficient_quota")
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description="A server that speaks a dialect of the OpenAI chat protocol.")
    parser.add_argument("--name", choices=DIALECTS, default="plain")
    parser.add_argument("--seconds", type=float, default=0.0, help="a call takes")
    options = parser.parse_args(arguments)
    serve(DialectServer(DIALECTS[options.name], options.seconds).handle)


if __name__ == "__main__":
    main()
