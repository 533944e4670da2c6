"""Local judges hold a bounded number of pixels, whatever a folder holds; ordinary batches stay as they are."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from t2i_judge.judges import local
from t2i_judge.judges.local import Failure, LocalJudge
from t2i_judge.local.model import Turn
from t2i_judge.records import JudgeInfo, Judgement, Status
from tests.families import picture


class Recording:
    """A model that notes how many items come together."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def read(self, batch, max_new_tokens=0):
        self.batches.append(len(batch))
        return [{} for _ in batch]


class Toy(LocalJudge):
    """Takes everything, but for prompts that say no."""

    def __init__(self, **options) -> None:
        super().__init__(Recording(), JudgeInfo("toy", "toy", "toy"), **options)
        self.prepared: list[int] = []

    def _prepare(self, batch):
        self.prepared.append(len(batch))
        no = Failure(Status.REFUSED, "no")
        return [item.ended(no) if item.prompt == "no" and not item.outcome else item for item in batch]

    def _turns(self, item, explain):
        assert item.images
        return [Turn("score", "q1", item.prompt)]

    def _judgement(self, item, readings, usage):
        return Judgement(item.image_id, item.prompt, self.info)


def items(count: int) -> tuple[list, list[str], list[str]]:
    images = [b"no image" if n % 7 == 3 else picture(40, 30, n) for n in range(count)]
    return images, ["no" if n % 5 == 2 else f"prompt {n}" for n in range(count)], [f"i{n}" for n in range(count)]


def test_ordinary_folders_are_prepared_and_judged_in_the_batches_they_always_were():
    judge = Toy(batch_size=4)
    images, prompts, ids = items(37)
    judge.score(images, prompts, image_ids=ids)
    assert judge.prepared == [16, 16, 5] and len(judge.model.batches) == 10
    large = Toy(batch_size=16)
    large.score([Image.new("RGB", (1024, 1024))] * 70, ["x"] * 70, [Image.new("RGB", (1024, 1024))] * 70)
    assert large.prepared == [64, 6] and large.model.batches == [16, 16, 16, 16, 6]


@pytest.mark.parametrize("room", [1, 5000, 2**27])
def test_results_are_the_same_one_by_one_and_in_order(monkeypatch, room):
    monkeypatch.setattr(local, "ROOM", room)
    images, prompts, ids = items(37)
    made = Toy(batch_size=4).score(images, prompts, image_ids=ids)
    wanted = ["image_error" if n % 7 == 3 else "refused" if n % 5 == 2 else "ok" for n in range(37)]
    assert [one.status.value for one in made] == wanted and [one.image_id for one in made] == ids


def test_what_cannot_be_judged_takes_no_room(monkeypatch):
    monkeypatch.setattr(local, "ROOM", 2000)
    judge = Toy(declines=lambda image: "not mine" if image.width == 40 else None)
    judge.score([picture(40, 30)] * 9 + [picture(41, 30)] * 3, ["x"] * 12)
    assert judge.prepared == [11, 1] and judge.model.batches == [2, 1]


_PEAK = """
import resource, sys
from pathlib import Path
from tests.metrics.judges.test_room import Toy
files = sorted(Path(sys.argv[1]).glob("*.png")) * int(sys.argv[2])
made = Toy().score(files, ["x"] * len(files), image_ids=[str(n) for n in range(len(files))])
assert all(one.status.value == "ok" for one in made)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_folder_of_huge_pictures_takes_no_more_memory_than_a_few_of_them(tmp_path):
    """24 of 25 million pixels, 100 MB each, in files of less than 100 kB; 2.4 GB together."""
    for number in range(6):
        Image.new("L", (5000, 5000), 40 * number).save(tmp_path / f"{number}.png")

    def peak(times: int) -> int:
        command = [sys.executable, "-c", _PEAK, str(tmp_path), str(times)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])

    assert peak(4) < 1.2 * peak(1)
