"""The released judge is attacked on held-out images, and what it said is kept by content."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recipes.evaluation.referee import attackable, examined
from recipes.recipe.items import Item
from t2i_judge.files import read_jsonl
from t2i_judge.inputs.images import load_image
from t2i_judge.records import OVERALL, Judgement, Status, failed
from tests.metrics.runs.planted import PlantedJudge, samples


class Counting(PlantedJudge):
    """Counts what it is asked, and can be cut off."""

    asked, most = 0, 10**9

    def _judge(self, item) -> Judgement:
        self.asked += 1
        if self.asked > self.most:
            raise KeyboardInterrupt
        return super()._judge(item)


@pytest.fixture
def held_out(tmp_path: Path) -> list[Item]:
    items = []
    for number, sample in enumerate(samples(0, 16)):
        sample.image.save(tmp_path / f"{number}.png")
        split = ("new_prompts", "new_pairs")[number % 2]
        items.append(
            Item(
                id=str(number), prompt=sample.prompt, image=f"{number}.png", split=split, generator="g", source="table"
            )
        )
    return items


def own_of(judge: PlantedJudge, folder: Path, items: list[Item]) -> dict[str, Judgement]:
    judged = judge.score(
        [load_image(folder / i.image) for i in items], [i.prompt for i in items], image_ids=[i.id for i in items]
    )
    return {item.id: judgement for item, judgement in zip(items, judged, strict=True)}


def test_a_selftest_cut_off_goes_on_and_a_second_one_asks_nothing(tmp_path: Path, held_out: list[Item]) -> None:
    judge, path = Counting("suffix"), tmp_path / "selftests" / "tiny.jsonl"
    arguments = (path, tmp_path, held_out, own_of(PlantedJudge("suffix"), tmp_path, held_out), "weights 1", 12)
    judge.most = 100
    with pytest.raises(KeyboardInterrupt):
        examined(lambda: judge, *arguments, progress=False)
    judge.asked, judge.most = 0, 10**9
    found = examined(lambda: judge, *arguments, progress=False)
    assert found["verdict"] == "UNTRUSTED" and found["n"] == 12
    assert judge.asked == (25 - 8) * 12  # none of the eight attacks that were done before the cut is made again
    judge.asked = 0
    with path.open("a") as file:
        file.write('{"torn')
    assert examined(lambda: pytest.fail("a judge was opened"), *arguments, progress=False) == found
    lines = list(read_jsonl(path))
    assert len(lines) == 26 and all("attack" in line for line in lines[:-1]) and lines[-1]["selftest"] == found
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines[:-1]))
    assert examined(lambda: judge, *arguments, progress=False) == found and judge.asked == 0
    assert examined(lambda: judge, *arguments[:4], "weights 2", 12, progress=False) == found and judge.asked == 25 * 12


def test_what_is_attacked_has_a_score_and_is_of_every_split(tmp_path: Path, held_out: list[Item]) -> None:
    own = own_of(PlantedJudge(), tmp_path, held_out)
    broken = failed("0", held_out[0].prompt, own["0"].judge, Status.UNPARSABLE, "nothing readable")
    chosen = attackable(held_out, own | {"0": broken}, 6, 0)
    assert "0" not in {item.id for item in chosen} and len({item.prompt for item in chosen}) == 6
    assert sorted(item.split for item in chosen) == ["new_pairs"] * 3 + ["new_prompts"] * 3
    assert own["1"].scores[OVERALL] is not None


def test_a_judge_without_any_score_is_inconclusive_and_says_why(tmp_path: Path, held_out: list[Item]) -> None:
    own = own_of(PlantedJudge(), tmp_path, held_out)
    none = {i: replace(j, status=Status.UNPARSABLE, reason="nothing readable", scores={}) for i, j in own.items()}
    found = examined(PlantedJudge, tmp_path / "x.jsonl", tmp_path, held_out, none, "", 8, progress=False)
    assert found["verdict"] == "INCONCLUSIVE" and found["probes"] == [] and "nothing readable" in found["reason"]
