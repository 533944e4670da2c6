"""Score two folders of pictures, and say which generator is better, by how much and how sure that is.

    python metrics/examples/compare_generators.py example/ours example/theirs example/prompts.txt --judge tiny

The folders hold one picture per prompt, in the order of their names; the text file holds one prompt per line.
`t2i-judge leaderboard` does this for any number of generators and seeds, and writes a page about it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from t2i_judge import load_judge
from t2i_judge.judges.base import Judge
from t2i_judge.stats.paired import paired_difference

KINDS = (".png", ".jpg", ".jpeg", ".webp")


def score_folder(judge: Judge, folder: Path, prompts: list[str]) -> list[float | None]:
    """The overall score of each picture; None for one that could not be judged, which is printed with the reason."""
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS)
    scores = []
    for picture, judged in zip(pictures, judge.score(pictures, prompts)):
        if judged.status != "ok":
            print(f"{picture} has no score ({judged.status}): {judged.reason}")
        scores.append(judged.scores.get("overall") if judged.status == "ok" else None)
    return scores


def main() -> None:
    """Compare the two folders that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ours", type=Path)
    parser.add_argument("theirs", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--judge", default="tiny")
    args = parser.parse_args()

    prompts = args.prompts.read_text(encoding="utf-8").splitlines()
    judge = load_judge(args.judge)
    ours, theirs = (score_folder(judge, folder, prompts) for folder in (args.ours, args.theirs))
    for prompt, a, b in zip(prompts, ours, theirs):
        print(*("   -" if score is None else f"{score:4.1f}" for score in (a, b)), prompt)

    pair = paired_difference(ours, theirs)  # of the prompts for which both pictures have a score
    if pair.ci is None:
        raise SystemExit("Fewer than two prompts have both scores. Nothing can be said.")
    low, high = pair.ci
    print(f"{args.ours.name} - {args.theirs.name}: {pair.difference:+.2f}, 95% interval [{low:.2f}, {high:.2f}]")
    print(
        f"{pair.n} of {len(prompts)} prompts: {pair.wins} won, {pair.ties} tied, {pair.losses} lost; p = {pair.p:.2g}"
    )
    print("Decided." if low > 0 or high < 0 else "Not decided: the interval holds 0. Add prompts.")


if __name__ == "__main__":
    main()
