"""Run folders as `t2i-judge leaderboard` leaves them, without a judge: what it would have said is planted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from t2i_judge.boards.items import BoardItem, write_items
from t2i_judge.boards.judging import ITEMS
from t2i_judge.boards.leaderboard import leaderboard
from t2i_judge.boards.scores import Scores, scored
from t2i_judge.files import sha256
from t2i_judge.records import Answer, JudgeInfo, Judgement, Question, Status, failed
from t2i_judge.scoring import aspect_scores

JUDGE = JudgeInfo("planted", "test", "planted")
Say = Callable[[str, int, int], "tuple[Sequence[Question], Sequence[Answer]] | str"]


def questions_of(prompt: int) -> list[Question]:
    """Two that every prompt has, and one of its own."""
    return [
        Question("q1", "appearance", (), "Is it clean?"),
        Question("q2", "intrinsic", (), f"How many things of kind {prompt} are there?", "two"),
    ]


def answers_of(clean: float, count: float) -> list[Answer]:
    return [
        Answer("q1", "yes", None, clean, explanation="It looks clean."),
        Answer("q2", "two", count > 5, count, explanation="There are two."),
    ]


def pictures(folder: Path, number: int = 6, side: int = 96, noise: bool = False) -> list[Path]:
    """A few files, to be used again and again."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index}.png" for index in range(number)]
    for index, path in enumerate(paths):
        image = Image.effect_noise((side, side), 90) if noise else Image.new("L", (side, side), 30 * index)
        image.convert("RGB").save(path)
    return paths


def write_run(
    folder: Path, generators: Sequence[str], prompts: Sequence[str], say: Say, images: Sequence[Path], seeds: int = 1
) -> dict:
    """A run folder with its board; `say` gives questions and answers of (generator, prompt, seed), or why it failed.

    Returns the board.
    """
    items, lines = [], []
    for place, generator in enumerate(generators):
        for number, prompt in enumerate(prompts):
            for seed in range(seeds):
                image = images[(place + number) % len(images)]
                name = f"{generator}/{number:03d}" + (f"#{seed + 1}" if seed else "")
                said = say(generator, number, seed)
                if isinstance(said, str):
                    judgement = failed(name, prompt, JUDGE, Status.REFUSED, said)
                else:
                    scores = aspect_scores(*said)
                    judgement = Judgement(
                        name, prompt, JUDGE, scores=scores, questions=tuple(said[0]), answers=tuple(said[1])
                    )
                kind = f"kind {number % 3}"
                items.append(BoardItem(name, generator, prompt, f"{number:03d}", str(image), sha256(image), kind))
                lines.append(judgement.to_json())
    (folder / "shards").mkdir(parents=True)
    write_items(folder / ITEMS, items)
    (folder / "shards" / "000000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "shards" / "000000.json").write_text("{}")
    scores = Scores([scored(item, line) for item, line in zip(items, lines)], generators, (0.0, 10.0))
    board = leaderboard(scores) | {
        "judge": {**lines[0]["judge"], "score_range": [0.0, 10.0]},
        "prompts": {"n": len(prompts), "images": len(items), "source": None, "rewritten": 0},
    }
    (folder / "leaderboard.json").write_text(json.dumps(board))
    return board
