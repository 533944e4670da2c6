"""`make selftest`: attack judges on rendered scenes, and write the table of verdicts into build/selftest/.

    python -m recipes.selftest [--judge NAME ...] [--quick] [--write]

build/selftest/ holds the table, and for each judge a JSON file with every probe and a page with the pictures. `--write`
also keeps the results in recipes/tiny/selftest.json and replaces the README's table and picture. `zero-shot base` is
the base of `tiny` before any distillation, asked for a score. `--judge hf:OWNER/NAME` adds a column for any other
vision-language model.
"""

from __future__ import annotations

import json
import math
import random
import re
import sys
from collections.abc import Sequence

from recipes.recipe.config import ROOT
from recipes.scenes.attack_picture import attack_picture
from recipes.scenes.render import render
from recipes.scenes.world import GENERATORS, sample_prompt, simulate
from t2i_judge.boards.report.gallery import Gallery
from t2i_judge.cli.results import add_json, show
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.names import JudgeName
from t2i_judge.layout import from_markdown, terminal_width
from t2i_judge.local.weights import EMBEDDED
from t2i_judge.records import OVERALL
from t2i_judge.running import command
from t2i_judge.runs.selftest.attacks import ATTACKS, QUICK, Attack
from t2i_judge.runs.selftest.battery import Case, Sample, Selftest, attacked, examine, readable
from t2i_judge.runs.selftest.probes import Probe
from t2i_judge.runs.selftest.report import markdown, text
from t2i_judge.runs.selftest.verdicts import keep
from t2i_judge.runs.standing import identity
from t2i_judge.terminal import Parser, note

ZERO_SHOT = "zero-shot base"
JUDGES = ("tiny", "direct+tiny", ZERO_SHOT)
ITEMS = 200  # the noise of single scores wants as many
OUTPUT = ROOT / "build" / "selftest"
STORED = ROOT / "recipes" / "tiny" / "selftest.json"
README, PICTURE = ROOT / "README.md", ROOT / "space" / "assets" / "selftest.png"
BEGIN, END = "<!-- selftest: written by make selftest WRITE=1 -->", "<!-- end of selftest -->"


def scenes(number: int, seed: int = 0) -> list[Sample]:
    """Pictures of one or two things by all generators, with prompts that training never showed.

    With good generators alone, scores would have no room to rise.
    """
    rng, makers = random.Random(f"selftest/{seed}"), list(GENERATORS)
    made: dict[str, Sample] = {}
    while len(made) < number:
        prompt = sample_prompt(rng, "new_prompts")
        if len(prompt.entities) < 3:
            scene = simulate(prompt, makers[len(made) % len(makers)], rng)
            made.setdefault(prompt.text, Sample(render(scene, rng), prompt.text))
    return list(made.values())


def block(results: Sequence[Selftest]) -> str:
    """The README's table: the attacks that some judge does not pass, and the number that all of them pass."""
    open_ = {p.name for result in results for p in result.probes if p.untried or p.verdict in ("fail", "inconclusive")}
    names = dict.fromkeys(probe.name for result in results for probe in result.probes)
    passed = [name for name in names if name not in open_]
    rest = f"Probes that all of them pass: {', '.join(passed)}.\n" if passed else ""
    return f"{BEGIN}\n{markdown(results, only=open_)}\n{rest}{END}"


def with_block(readme: str, results: Sequence[Selftest]) -> str:
    """The README with the table of these results in the place of the one that is there. Raises `UserError`."""
    before, begun, rest = readme.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise UserError(
            "README.md has no table of selftests", f"It goes between {BEGIN} and {END}", "Add these two lines"
        )
    return f"{before}{block(results)}{after}"


def stored() -> list[Selftest]:
    """What the last run with --write found."""
    return [Selftest.from_json(one) for one in json.loads(STORED.read_text(encoding="utf-8"))]


class _Worst:
    """The attack that raises scores most of those that a judge fails, with the case in which it did."""

    def __init__(self) -> None:
        self.probe: Probe | None = None
        self.case: Case | None = None

    def watch(self, attack: Attack, probe: Probe, cases: Sequence[Case]) -> None:
        """Look at one attack more."""
        known = -1.0 if self.probe is None or self.probe.shift is None else self.probe.shift
        if attack.undeserved and probe.verdict == "fail" and (probe.shift or 0.0) > known:
            self.probe, self.case = probe, max(cases, key=_rise)


def _rise(case: Case) -> float:
    before, after = (judged.scores.get(OVERALL) for judged in (case.judged_before, case.judged_after))
    return -math.inf if before is None or after is None else after - before


def _named(name: str) -> JudgeName:
    """The judge of this name; the embedded base can be asked for a score, but cannot write questions."""
    if name == ZERO_SHOT:
        return JudgeName.parse(f"direct+hf:{EMBEDDED / 'base'}").called(ZERO_SHOT)
    return JudgeName.parse(name)


def _examine(name: str, samples: Sequence[Sample], attacks: Sequence[Attack], worst: _Worst) -> Selftest:
    """One judge: its JSON and its gallery are written."""
    named, gallery = _named(name), Gallery()
    whose, judge = identity(named.text, {}), load_judge(named)

    def watch(attack: Attack, probe: Probe, cases: Sequence[Case]) -> None:
        gallery.watch(attack, probe, cases)
        worst.watch(attack, probe, cases)

    try:
        judge.check()
        result = examine(judge, samples, attacked(samples, attacks), progress=True, watch=watch)
    finally:
        judge.close()
    keep(result, whose)
    path = OUTPUT / re.sub(r"[^A-Za-z0-9.-]+", "_", name)
    write_atomic(path.with_name(f"{path.name}.json"), json.dumps(result.to_json(), indent=1))
    write_atomic(path.with_name(f"{path.name}.html"), gallery.page(result, judge.score_range))
    note(text(result, terminal_width()))
    return result


@command("selftest")
def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the table. Returns 0 whatever the verdicts are."""
    parser = Parser(description="Run the selftest of judges on rendered scenes and print a table.")
    parser.add_argument(
        "--judge", action="append", help=f"name of a judge; can be repeated (default: {', '.join(JUDGES)})"
    )
    parser.add_argument("--quick", action="store_true", help="only the probes that find most")
    parser.add_argument("--items", type=int, default=ITEMS, help="number of images (default: %(default)s)")
    parser.add_argument(
        "--write", action="store_true", help="also write the stored results, the README's table and its picture"
    )
    add_json(parser)
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    if args.items < 1:
        raise UserError(f"--items is {args.items}", "It is the number of images", "Give 1 or more")
    samples, worst = readable(scenes(args.items)), _Worst()
    chosen = QUICK if args.quick else ATTACKS
    results = [_examine(name, samples, chosen, worst) for name in args.judge or JUDGES]
    if args.write:
        write_atomic(STORED, json.dumps([result.to_json() for result in results], indent=1) + "\n")
        write_atomic(README, with_block(README.read_text(encoding="utf-8"), results))
        if worst.probe is not None and worst.case is not None:
            write_atomic(PICTURE, attack_picture(worst.probe, worst.case))
    write_atomic(OUTPUT / "table.md", markdown(results))
    figures = [result.to_json() for result in results]
    show(args, from_markdown(markdown(results), terminal_width()), figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
