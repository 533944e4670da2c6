"""HF Jobs: start, list, look at, read the log, cancel."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from recipes.loopback.hub.jobs import Job
from recipes.loopback.hub.repo import Err
from recipes.loopback.hub.server import route

if TYPE_CHECKING:
    from recipes.loopback.hub.server import Handler

JOB = r"/api/jobs/(?P<ns>[^/]+)/(?P<identity>[^/]+)"


@route("POST", r"/api/jobs/(?P<ns>[^/]+)")
def start_job(h: Handler, ns: str) -> None:
    h.need_write(ns)
    h.send(200, h.hub.jobs.start(ns, h.json()).to_json())


@route("GET", r"/api/jobs/(?P<ns>[^/]+)")
def list_jobs(h: Handler, ns: str) -> None:
    h.need_write(ns)
    asked = parse_qs(urlsplit(h.path).query)
    labels = dict(text.split("=", 1) for text in asked.get("label", ()))
    stages = asked.get("stage")
    jobs = [
        job.to_json()
        for job in reversed(h.hub.jobs.jobs)
        if job.namespace == ns
        and (job.spec.get("labels") or {}).items() >= labels.items()
        and (stages is None or job.stage in stages)
    ]
    h.send(200, jobs)


@route("GET", JOB)
def inspect_job(h: Handler, ns: str, identity: str) -> None:
    h.send(200, job_of(h, ns, identity).to_json())


@route("GET", f"{JOB}/logs")
def job_logs(h: Handler, ns: str, identity: str) -> None:
    job = job_of(h, ns, identity)
    events = [{"data": line, "timestamp": job.created} for line in job.log().splitlines()]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    h.send(200, text.encode(), "text/event-stream")


@route("POST", f"{JOB}/cancel")
def cancel_job(h: Handler, ns: str, identity: str) -> None:
    job = job_of(h, ns, identity)
    h.hub.jobs.cancel(job)
    h.send(200, job.to_json())


def job_of(h: Handler, ns: str, identity: str) -> Job:
    """A job that the user may see. Raises `Err`."""
    h.need_write(ns)
    job = h.hub.jobs.find(ns, identity)
    if job is None:
        raise Err(404, "Job not found")
    return job
