"""`t2i-judge COMMAND`: one module per command, imported only when it is called. Errors are one line, exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module

from .. import __version__
from ..running import command
from ..terminal import Parser

COMMANDS = {
    "score": ("score", "judge images for prompts, shard by shard, resumable"),
    "leaderboard": ("leaderboard", "which generator is better, where, and how sure that is"),
    "serve": ("serve", "a judge behind HTTP: rewards for training generators, one judge for many programs"),
    "drift": ("drift", "the same items judged twice: what changed, and by how much"),
    "plan": ("plan", "items, calls, tokens and money before a run"),
    "selftest": ("selftest", "attacks on picture and prompt, and a verdict: trusted, untrusted, inconclusive"),
    "meta-eval": ("meta_eval", "agreement of any scores with human ratings, from a table"),
    "estimate": ("estimate", "what people think of each generator, from few labels and many judgements"),
    "label-plan": ("label_plan", "how many images people should label next, and which"),
    "methods": ("methods", "DreamBench++'s report on personalised generators, from tables"),
    "reproduce": ("reproduce", "regenerate published meta-evaluation figures"),
    "t2i-eval": ("t2i_eval", "T2I-Eval's table from its own result files, by its arithmetic and without filling"),
    "calibrate": ("calibrate", "map a judge's scores to the human scale"),
    "completion": ("completion", "print the script that completes commands and options in bash or zsh"),
    "install-metric": ("install_metric", 'make evaluate.load("t2i_judge") resolve on this machine'),
}


@command("t2i-judge", "Run the same command again to continue.")
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (see `running.command`)."""
    arguments = sys.argv[1:] if argv is None else argv
    named = next((word for word in arguments if not word.startswith("-")), None)
    args = command_line([named] if named in COMMANDS else []).parse_args(arguments)
    return int(args.run(args))


def command_line(chosen: Iterable[str]) -> Parser:
    """The parser of all commands. Only the chosen ones are imported and know their arguments."""
    parser = Parser(prog="t2i-judge", description="Judges of text-to-image models.")
    parser.add_argument("--version", action="version", version=f"t2i-judge {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = set(chosen)
    for name, (module, summary) in COMMANDS.items():
        parsed = commands.add_parser(name, help=summary, description=summary)
        if name in wanted:
            loaded = import_module(f".{module}", __name__)
            loaded.add_arguments(parsed)
            parsed.set_defaults(run=loaded.run)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
