"""The judge behind HTTP: `POST /score`, health, figures and documentation. Run by `t2i-judge serve`.

A failed item has a status and `score: null` in an answer with HTTP 200; a failure is never a number. Everything is
typed; nothing is unpickled, no URL is fetched and no path is read.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import UploadFile

from .. import __version__
from ..errors import UserError
from ..judges.base import Judge
from ..records import OVERALL, Judgement, Status, Usage
from .admission import Admission
from .connections import Connection
from .documentation import DESCRIPTION, REQUEST_BODY, RESPONSES
from .forms import is_utf8
from .requests import Asked, Malformed, read_form, read_json
from .service import Full, NoRoom, Service
from .shares import account_of

LOOPBACK = ("127.0.0.1", "localhost", "::1")
READY = "t2i-judge serve: "
_HELD = 8  # times the limit of one body that all bodies may hold
_JSON = ("", "application/json")
_LARGE_JSON = 200_000  # bytes: a thread reads what is larger, so that others are answered meanwhile
_log = logging.getLogger(__name__)


def application(service: Service) -> FastAPI:
    """The server's routes, without admission."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(title="t2i-judge", version=__version__, description=DESCRIPTION, lifespan=lifespan)

    @app.post("/score", openapi_extra=REQUEST_BODY, responses=RESPONSES)
    async def score(request: Request) -> Response:
        """Judge images for prompts; one result an item, in order, each with its status."""
        begun = time.monotonic()
        response = await _score(service, request)
        service.figures.requests.labels(str(response.status_code)).inc()
        service.figures.seconds.observe(time.monotonic() - begun)
        return response

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Is it at work?"""
        return {"status": "ok", "version": __version__, "judges": list(service.judges), "queue": service.waiting}

    @app.get("/judges")
    async def judges() -> dict[str, Any]:
        """Who judges here, and what is accepted."""
        limits = service.limits
        accepted = {
            "items": limits.items, "queue": limits.queue, "seconds": limits.seconds,
            "image_bytes": limits.image.bytes, "image_pixels": limits.image.pixels,
        }  # fmt: skip
        return {"judges": [_about(name, judge) for name, judge in service.judges.items()], "limits": accepted}

    @app.get("/rewards")
    async def rewards() -> dict[str, list[str]]:
        """The judges' names, as UniRL's reward service lists its rewards."""
        return {"rewards": list(service.judges)}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(service.figures.text(), media_type=CONTENT_TYPE_LATEST)

    return app


async def _score(service: Service, request: Request) -> Response:
    account = account_of(request.client.host) if request.client else ""
    try:
        asked = await _read(service, request, account)
        judge = service.judge_named(asked.judge)
        if len(asked.items) > (most := service.most_items):
            raise Malformed([_problem(f"{len(asked.items)} items are more than the {most} allowed in a request")])
        for wanted in asked.items:
            service.judge_named(wanted.judge)
    except Malformed as error:
        return JSONResponse({"detail": error.problems}, 422)
    except UserError as error:
        return JSONResponse({"detail": [_problem(str(error), "judge")]}, 422)
    except NoRoom as error:
        return JSONResponse({"detail": str(error)}, 429, {"Retry-After": "60"})
    try:
        service.admit(len(asked.items), account)
    except Full as full:
        return JSONResponse({"detail": str(full)}, 429, {"Retry-After": str(full.seconds)})
    try:
        judgements = await service.judge(asked.items, asked.explain, account)
    except UserError as error:
        _log.warning("%s", error)
        why = "its own server refuses or does not answer; see this server's log"
        return JSONResponse({"detail": f"the judge cannot judge anything now: {why}"}, 502)
    except Exception:
        _log.exception("a judge crashed")
        return JSONResponse({"detail": "the judge crashed on it; see this server's log"}, 500)
    finally:
        service.leave(len(asked.items), account)
    return JSONResponse(
        _rewards(asked, judgements) if asked.rewards is not None else _results(asked, judge, judgements)
    )


async def _read(service: Service, request: Request, account: str) -> Asked:
    """What is asked. Raises `Malformed`, `NoRoom`, and HTTP 413 by way of `admission`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        if not is_utf8(request.headers.getlist("content-type")):
            raise Malformed([_problem("a form is read in UTF-8: send it without a charset")])
        async with request.form(max_files=1_000, max_fields=4_000) as form:
            fields: dict[str, list[str | bytes]] = {}
            for name, value in form.multi_items():
                fields.setdefault(name, []).append(await value.read() if isinstance(value, UploadFile) else value)
        return read_form(fields)
    if kind not in _JSON:
        raise Malformed([_problem(f"{kind} is neither application/json nor multipart/form-data")])
    body, most = await request.body(), service.most_items
    return await service.read(account, read_json, body, most) if len(body) > _LARGE_JSON else read_json(body, most)


def _problem(message: str, *where: str) -> dict[str, Any]:
    return {"type": "value_error", "loc": ["body", *where], "msg": message}


def _results(asked: Asked, judge: Judge, judgements: Sequence[Judgement]) -> dict[str, Any]:
    usage = sum((judgement.usage for judgement in judgements), Usage())
    about = vars(judgements[0].judge if judgements else judge.info)
    return {
        "results": [_result(judgement, asked.explain) for judgement in judgements],
        "judge": {**about, "score_range": list(judge.score_range)},
        "usage": vars(usage),
    }


def _result(judgement: Judgement, explain: bool) -> dict[str, Any]:
    is_ok = judgement.status is Status.OK
    result: dict[str, Any] = {
        "id": judgement.image_id,
        "status": judgement.status.value,
        "reason": judgement.reason,
        "score": judgement.scores.get(OVERALL) if is_ok else None,
        "scores": dict(judgement.scores) if is_ok else dict.fromkeys(judgement.scores),
    }
    if explain:
        asked = {question.id: question for question in judgement.questions}
        record = judgement.to_json()
        result["answers"] = [
            {**answer, "question": asked[answer["question_id"]].text, "aspect": asked[answer["question_id"]].aspect}
            for answer in record["answers"]
        ]
        result["rationale"] = judgement.rationale
    return result


def _rewards(asked: Asked, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """In the shape of UniRL's reward service: what has no score is absent, and stands among the errors."""
    results, errors, rest = list[dict[str, Any]](), list[dict[str, str]](), iter(judgements)
    for names in asked.rewards or ():
        results.append({})
        errors.append({})
        for name in names:
            judgement = next(rest)
            if judgement.status is Status.OK:
                scores = {aspect: value for aspect, value in judgement.scores.items() if value is not None}
                results[-1][name] = {name: judgement.scores.get(OVERALL), **scores}
            else:
                errors[-1][name] = f"{judgement.status.value}: {judgement.reason}"
    return {"results": results, "errors": errors}


def _about(name: str, judge: Judge) -> dict[str, Any]:
    return {**vars(judge.info), "name": name, "score_range": list(judge.score_range)}


class Server(uvicorn.Server):
    """Says its address once it can be reached."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the door."""
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
            print(f"{READY}http://{host}:{port}", flush=True)


def _is_local(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host in LOOPBACK


def run(service: Service, host: str, port: int, key: str | None, most_bytes: int) -> None:
    """Serve until SIGTERM or Ctrl-C; then what was accepted is answered first.

    Raises:
        UserError: the address cannot be used.
    """
    app = Admission(application(service), key, most_bytes, _HELD * most_bytes, (host, *LOOPBACK), local=_is_local(host))
    config = uvicorn.Config(
        app, host, port, http=Connection, log_level="warning", access_log=False, server_header=False, backlog=2048,
        ws="none",  # there is none, and a connection that was upgraded would be nobody's to close
        timeout_keep_alive=30, timeout_graceful_shutdown=round(service.limits.seconds) + 30,
    )  # fmt: skip
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((host, port))
        except OSError as error:
            fix = "Stop the program that uses this address, or use another --host or --port"
            raise UserError(f"Cannot serve at {host}:{port}", error.strerror or str(error), fix) from error
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn sends it again once it has drained
        Server(config).run([door])
