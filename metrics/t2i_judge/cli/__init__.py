"""`t2i-judge COMMAND`: one module a command, imported only when it is called; errors are one line, exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

from ..errors import UserError

COMMANDS = {
    "score": ("score", "judge images for prompts, shard by shard, resumable"),
    "plan": ("plan", "items, calls, tokens and money before a run"),
    "selftest": ("selftest", "sanity battery: blank, black, shuffled prompt, painted text, order, repetition"),
    "meta-eval": ("meta_eval", "agreement of any scores with human ratings, from a table"),
    "methods": ("methods", "DreamBench++'s report on personalised generators, from tables"),
    "reproduce": ("reproduce", "regenerate published meta-evaluation figures"),
    "calibrate": ("calibrate", "map a judge's scores to the human scale"),
    "install-metric": ("install_metric", 'make evaluate.load("t2i_judge") resolve on this machine'),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit code: 0 fine, 1 finished with failures, 2 user error, 130 interrupted, 141 unread."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="t2i-judge", description="Judges of text-to-image models.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:
            loaded = import_module(f".{module}", __name__)
            loaded.add_arguments(command)
            command.set_defaults(run=loaded.run)
    try:
        args = parser.parse_args(arguments)
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads, `head` for one, has seen enough; nothing is left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UserError as error:
        print(f"t2i-judge: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("t2i-judge: interrupted; run the same command again to go on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
