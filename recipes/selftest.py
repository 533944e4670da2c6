"""`make selftest`: the table of judges and their verdicts on rendered scenes, into build/selftest/.

    python -m recipes.selftest [--judge NAME ...] [--quick]

build/selftest/table.md is what README and cards show; beside it, a JSON file a judge has every probe.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.scenes.render import render
from recipes.scenes.world import GENERATORS, sample_prompt, simulate
from t2i_judge.errors import UserError
from t2i_judge.judges.loading import load_judge
from t2i_judge.records import write_atomic
from t2i_judge.running import command
from t2i_judge.runs.selftest.attacks import ATTACKS, QUICK
from t2i_judge.runs.selftest.battery import Sample, Selftest, attacked, examine, readable
from t2i_judge.runs.selftest.report import sentence, text
from t2i_judge.runs.selftest.verdicts import keep

JUDGES = ("tiny", "direct+tiny")
ITEMS = 96  # the noise of single scores wants as many
OUTPUT = Path(__file__).resolve().parent.parent / "build" / "selftest"


def scenes(number: int, seed: int = 0) -> list[Sample]:
    """Pictures by all generators, of one or two things, with prompts that training never showed.

    Good ones alone would leave no room to rise.
    """
    rng, makers = random.Random(f"selftest/{seed}"), list(GENERATORS)
    made: dict[str, Sample] = {}
    while len(made) < number:
        prompt = sample_prompt(rng, "new_prompts")
        if len(prompt.entities) < 3:
            scene = simulate(prompt, makers[len(made) % len(makers)], rng)
            made.setdefault(prompt.text, Sample(render(scene, rng), prompt.text))
    return list(made.values())


def table(results: Sequence[Selftest]) -> str:
    """A row a probe, a column a judge: shift and verdict; the judges' verdicts above."""
    head = ["probe", "a sane score", *(result.judge["name"] for result in results)]
    rows = [head, ["---"] * len(head), ["**verdict**", "", *(f"**{result.verdict}**" for result in results)]]
    for column in zip(*(result.probes for result in results)):
        shifts = ["–" if probe.shift is None else f"{probe.shift:+.2f}" for probe in column]
        cells = [f"{shift} {probe.verdict}" for shift, probe in zip(shifts, column)]
        rows.append([column[0].name, column[0].expectation, *cells])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *(f"- {sentence(result)}" for result in results)]) + "\n"


@command("selftest")
def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the table; 0 whatever the verdicts are: they are what the table is for."""
    parser = argparse.ArgumentParser(description="The table of judges and their selftests on rendered scenes.")
    parser.add_argument("--judge", action="append", help=f"name, may stand often (default: {', '.join(JUDGES)})")
    parser.add_argument("--quick", action="store_true", help="only the probes that find most")
    parser.add_argument("--items", type=int, default=ITEMS, help="pictures (default: %(default)s)")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    if args.items < 1:
        raise UserError(f"--items {args.items}", "it is how many pictures are judged", "give 1 or more")
    samples = readable(scenes(args.items))
    attacks = attacked(samples, QUICK if args.quick else ATTACKS)
    results = []
    for name in args.judge or JUDGES:
        judge = load_judge(name)
        try:
            judge.check()
            result = examine(judge, samples, attacks, progress=True)
        finally:
            judge.close()
        keep(result)
        write_atomic(OUTPUT / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', name)}.json", json.dumps(result.to_json(), indent=1))
        print(text(result), file=sys.stderr)
        results.append(result)
    write_atomic(OUTPUT / "table.md", table(results))
    print(table(results), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
