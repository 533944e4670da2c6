"""`python -m recipes.example_pictures example`: write example pictures (takes a second).

    example/prompts.txt      ten prompts, one per line
    example/ours/            a careful simulated generator: 00.png to 09.png in the order of the prompts, metadata.csv
    example/theirs/          a careless one, on the same prompts
    example/ratings.csv      all twenty pictures, each with the ratings of three simulated people

They are rendered scenes, which the embedded judge `tiny` can see.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from recipes.scenes.annotators import rate
from recipes.scenes.render import render
from recipes.scenes.world import Entity, Prompt, Relation, sample_prompt, simulate
from t2i_judge.errors import UserError
from t2i_judge.records import OVERALL
from t2i_judge.running import command
from t2i_judge.terminal import Parser, step

FIRST = Prompt((Entity("circle", "red", 2), Entity("star", "blue")), (Relation(0, 1, "above"),))
GENERATORS = {"ours": "masterly", "theirs": "careless"}
PEOPLE = ("careful", "lenient", "aesthete")
NUMBER = 10


def prompts(seed: int = 0) -> list[Prompt]:
    """Ten prompts with one or two things each. All but the first are of a split that training never shows."""
    rng, found = random.Random(f"example/{seed}"), {FIRST.text: FIRST}
    while len(found) < NUMBER:
        prompt = sample_prompt(rng, "new_prompts")
        if len(prompt.entities) < 3:  # `tiny` at times fails to break down three
            found.setdefault(prompt.text, prompt)
    return list(found.values())


def write_pictures(folder: Path) -> None:
    """Write prompts, pictures and ratings into a folder, anew where it has them already.

    Raises:
        UserError: the folder has files of these names that are somebody's own.
    """
    asked = prompts()
    text = "".join(f"{prompt.text}\n" for prompt in asked)
    _refuse_others(folder, text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prompts.txt").write_text(text)
    rated = []
    for name, generator in GENERATORS.items():
        (folder / name).mkdir(exist_ok=True)
        files = [f"{index:02d}.png" for index in range(len(asked))]
        for file, prompt in zip(files, asked):
            rng = random.Random(f"example/{name}/{file}")
            scene = simulate(prompt, generator, rng)
            render(scene, rng).save(folder / name / file)
            scores = [
                next(rating["score"] for rating in rate(prompt, scene, person, rng) if rating["aspect"] == OVERALL)
                for person in PEOPLE
            ]
            rated.append((prompt.text, f"{name}/{file}", name, *scores))
        _table(folder / name / "metadata.csv", ("file_name", "prompt"), zip(files, (each.text for each in asked)))
    _table(folder / "ratings.csv", ("prompt", "image", "generator", *PEOPLE), rated)


def _refuse_others(folder: Path, text: str) -> None:
    """Raise `UserError` where files would be replaced and the prompts beside them are not the example's."""
    known = folder / "prompts.txt"
    own = next((path for name in ("prompts.txt", *GENERATORS, "ratings.csv") if (path := folder / name).exists()), None)
    if own is not None and not (known.is_file() and known.read_bytes() == text.encode()):
        fix = "Give a folder that is new or empty"
        raise UserError(f"{own} is there already", f"{folder} is no folder of example pictures", fix)


def _table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


@command("example_pictures")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0."""
    parser = Parser(prog="recipes.example_pictures", description="Write rendered pictures to try the judge on.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("example"), help="(default: %(default)s)")
    folder = parser.parse_args(argv).folder
    write_pictures(folder)
    step(f"{folder}: {NUMBER} prompts, a picture of each by {' and '.join(GENERATORS)}, and ratings.csv")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
