"""`t2i-judge serve --judge J`: a judge behind HTTP, for trainers, pages and CI; batches form by themselves."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..errors import UserError, quoted
from ..inputs.images import ImageLimits
from ..judges.base import Judge
from ..judges.loading import load_judge
from ..judges.names import JudgeName
from ..terminal import note, say
from .numbers import Finite, Whole
from .places import JUDGE
from .served_arguments import add_served, served_options

_MEGABYTE = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--judge", type=JUDGE, action="append", help="name of a judge (default: tiny); can be repeated")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, action=Whole, most=65535, default=8000, help="port; 0: any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--client-key-env", metavar="NAME", help="environment variable with the key that clients have to send"
    )
    parser.add_argument(
        "--quantization", choices=("nf4", "none"), help="of local judges' weights (default: as trained)"
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument("--queue", type=int, default=1024, help="items that may wait at once (default: %(default)s)")
    limits.add_argument("--max-items", type=int, default=256, help="items per request, at most (default: %(default)s)")
    limits.add_argument(
        "--max-body", type=int, default=64, metavar="MB", help="size of a request, at most (default: %(default)s)"
    )
    limits.add_argument(
        "--max-pixels",
        type=int,
        default=24,
        metavar="MEGAPIXELS",
        help="size of an image, at most (default: %(default)s)",
    )
    limits.add_argument(
        "--deadline",
        type=float,
        action=Finite,
        default=300.0,
        help="seconds for one item, at most (default: %(default)s)",
    )
    limits.add_argument("--batch-size", type=int, default=32, help="items per call of the judge (default: %(default)s)")
    limits.add_argument(
        "--keep", type=int, default=4096, help="judgements to keep for repeated questions (default: %(default)s)"
    )
    served = add_served(parser)
    served.add_argument("--cache", type=Path, help="file that keeps replies (default: kept only while the server runs)")


def run(args: argparse.Namespace) -> int:
    """Load the judges and serve until stopped. Returns 0 after SIGTERM."""
    _check(args)
    key = _client_key(args.client_key_env)
    try:
        from ..serving.server import LOOPBACK, run
        from ..serving.service import Service, ServiceLimits
    except ImportError as error:
        fix = 'Run: pip install "t2i-judge[serve]"'
        raise UserError(
            "The command t2i-judge serve needs more packages", f"{error.name} is not installed", fix
        ) from error
    if key is None and args.host not in LOOPBACK:
        line = "Anybody who can reach this address can use the judge. To require a key, use --client-key-env"
        say(f"t2i-judge serve: {line}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="t2i-judge-") as folder:
        judges = _judges(args, args.cache or Path(folder) / "calls.sqlite")
        image = ImageLimits(bytes=args.max_body * _MEGABYTE, pixels=args.max_pixels * _MEGABYTE)
        limits = ServiceLimits(image, args.max_items, args.queue, args.deadline, args.batch_size, args.keep)
        run(Service(judges, limits), args.host, args.port, key, args.max_body * _MEGABYTE)
    return 0


def _check(args: argparse.Namespace) -> None:
    for name in ("queue", "max_items", "max_body", "max_pixels", "batch_size"):
        if getattr(args, name) < 1:
            raise UserError(
                f"--{name.replace('_', '-')} is {getattr(args, name)}", "It must be at least 1", "Use a larger number"
            )
    if args.keep < 0 or not args.deadline > 0:
        raise UserError("--keep or --deadline is too small", "", "Leave them out")


def _client_key(name: str | None) -> str | None:
    """The key that clients must present. Raises `UserError` if its variable is empty."""
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise UserError(
            f"--client-key-env names {name}", "This variable is empty or not set", f"Run: export {name}=..."
        )
    return key


def _judges(args: argparse.Namespace, cache: Path) -> dict[str, Judge]:
    """The judges by the names that clients use, which have no server's address."""
    judges: dict[str, Judge] = {}
    for text in args.judge or ["tiny"]:
        name = JudgeName.parse(text)
        if name.label in judges:
            raise UserError(
                f"Two judges are called {quoted(name.label)}",
                "Clients could not tell them apart",
                "Leave out one of them",
            )
        note(f"t2i-judge serve: loading {name}")
        options: dict[str, Any] = {**served_options(args), "cache": cache} if name.served else {}
        if args.quantization and not name.served:
            options["quantization"] = args.quantization
        judges[name.label] = load_judge(name, **options)
        judges[name.label].check()
    return judges
