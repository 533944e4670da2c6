"""`python -m recipes.loopback.hub`: run the loopback Hub until it is interrupted."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from recipes.loopback.hub.server import FEATURES, start

parser = argparse.ArgumentParser(prog="recipes.loopback.hub", description=__doc__)
parser.add_argument("--root", type=Path, required=True)
parser.add_argument("--port", type=int, default=8094)
parser.add_argument("--cdn-port", type=int, default=0)
parser.add_argument("--user", action="append", default=[], metavar="NAME:TOKEN")
parser.add_argument("--org", action="append", default=[], metavar="ORG:USER")
parser.add_argument("--xet", action="store_true", help="serve hf_xet clients too")
parser.add_argument(
    "--lacks", action="append", default=[], choices=FEATURES, help="a Hub that does not have this (501)"
)
arguments = parser.parse_args()
organisations: dict[str, list[str]] = {}
for word in arguments.org:
    organisation, member = word.split(":")
    organisations.setdefault(organisation, []).append(member)
users = {token: name for name, token in (word.split(":", 1) for word in arguments.user)}
lacks = dict.fromkeys(arguments.lacks, 501)
running = start(arguments.root, arguments.port, arguments.cdn_port, users or None, organisations, arguments.xet, lacks)
print("loopback Hub", running.endpoint, flush=True)
try:
    threading.Event().wait()
except KeyboardInterrupt:
    running.stop()
