"""Arguments of every command that asks a server, and the options of `load_judge` that they become."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import UserError, quoted
from ..judges.names import JudgeName
from ..served.client import check_parameters
from ..served.concurrency import Budget, check_concurrency
from ..served.prices import load_prices
from .numbers import Counted, Finite

CLIENT = ("concurrency", "max_cost", "prices", "seed", "parameters", "max_tokens", "max_image_side", "api_key_env")


class _Purse(Finite):
    """The one budget of a command, of which everything that it asks is paid."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, value: Any, option_string: str | None = None
    ) -> None:
        """Keep it. Raises `UserError` for what is no number of dollars."""
        super().__call__(parser, namespace, value, option_string)
        setattr(namespace, self.dest, Budget(value))


def add_served(parser: argparse.ArgumentParser, title: str = "served judges (openai:...)", seed: bool = True) -> Any:
    """Add the arguments as a group and return it. `seed`: also add --seed, if the command has no other one."""
    group = parser.add_argument_group(title)
    if seed:
        group.add_argument(
            "--seed", type=int, help="seed of the model's sampling; with another seed, all calls are made again"
        )
    group.add_argument("--concurrency", type=int, help="number of calls at once, at most")
    group.add_argument(
        "--max-cost",
        type=float,
        action=_Purse,
        help="US dollars for one run of this command: stop before a call that could exceed them",
    )
    group.add_argument("--prices", type=Path, help="YAML file of prices, which come before the built-in ones")
    group.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="most tokens of a reply, thinking included (default: by protocol)",
    )
    group.add_argument(
        "--parameters",
        type=json_object,
        metavar="JSON",
        help='more arguments of the chat API, such as \'{"reasoning_effort": "low"}\'; null leaves a default out',
    )
    group.add_argument(
        "--max-image-side",
        type=int,
        action=Counted,
        metavar="PIXELS",
        help="scale larger images down to this before sending (default: off)",
    )
    group.add_argument(
        "--api-key-env",
        action="append",
        metavar="NAME",
        help="variable that holds the key (default: OPENAI_API_KEY, HF_TOKEN for Hugging Face), or BASE_URL=NAME for "
        "one server; may stand several times",
    )
    return group


def json_object(text: str) -> dict[str, Any]:
    """A JSON object. argparse reports an argument that is not one."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('is not a JSON object; write it like {"reasoning_effort": "low"}')
    return value


def served_options(args: argparse.Namespace, seed: bool = True) -> dict[str, Any]:
    """The options of a client (`served.client.OpenAIBackend`) that were given; `seed` as in `add_served`.

    Raises:
        UserError: one of them has an impossible value.
    """
    options = {name: getattr(args, name) for name in _named(args, seed)}
    check_concurrency(options.get("concurrency", 1))
    if "prices" in options:
        options["prices"] = load_prices(options["prices"])
    sampling = {"seed": options.pop("seed")} if "seed" in options else {}
    if sampling or "parameters" in options:
        options["parameters"] = {**check_parameters(options.get("parameters", {})), **sampling}
    return options


def _named(args: argparse.Namespace, seed: bool) -> list[str]:
    return [n for n in CLIENT if getattr(args, n, None) is not None and (seed or n != "seed")]


def check_served(judge: JudgeName, args: argparse.Namespace, seed: bool = True) -> None:
    """Raise `UserError` if one of these arguments was given for a judge that asks no server."""
    names = _named(args, seed)
    if names and not judge.served:
        shown = names[0].replace("_", "-")
        raise UserError(
            f"--{shown} cannot be used with {quoted(str(judge))}", "Only served judges support it", "Leave it out"
        )
