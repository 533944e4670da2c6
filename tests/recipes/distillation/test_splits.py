"""What belongs together goes to one split, enough is held out, and rows that come and go move no others."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image

from recipes.distillation.image_check import Picture, copies_among, hashes_of, inspect
from recipes.distillation.splits import Candidate, overlaps, require_apart, split_by_share, split_sizes
from recipes.recipe.items import Item
from t2i_judge.errors import UserError


def candidates(prompts: list[str]) -> list[Candidate]:
    """Images that look like nothing else, one per prompt."""
    return [Candidate(p, None, Picture(Path(f"{n}.png"), f"{n}", bits(n))) for n, p in enumerate(prompts)]


def bits(seed: int):
    import numpy as np

    return np.random.default_rng(seed).integers(0, 2**64, 4, dtype=np.uint64)


PROMPTS = [f"a picture of thing number {n}" for n in range(400)]


@pytest.mark.parametrize("number", [2, 3, 6, 12, 25, 60, 400])
def test_enough_is_held_out_and_enough_is_left(number: int) -> None:
    splits = split_by_share(candidates(PROMPTS[:number]), 0.1)
    held_out = splits.count("new_prompts")
    assert held_out >= min(10, max(3, number // 3), number // 2) and splits.count("train") >= number / 2
    assert number < 400 or 20 <= held_out <= 60


def test_12_prompts_never_give_none_whatever_they_are() -> None:
    for seed in range(40):
        prompts = random.Random(seed).sample(PROMPTS, 12)
        assert split_by_share(candidates(prompts), 0.1).count("new_prompts") >= 4


def test_nothing_is_held_out_where_nobody_asks() -> None:
    assert set(split_by_share(candidates(PROMPTS[:20]), 0.0)) == {"train"}
    assert split_by_share(candidates(PROMPTS[:20]), 0.0, at_least=7).count("new_prompts") >= 7
    with pytest.raises(UserError, match="is 20"):
        split_by_share(candidates(PROMPTS[:20]), 0.0, at_least=20)


def test_order_does_not_matter_and_added_rows_move_nobody_of_a_large_set() -> None:
    whole = dict(zip(PROMPTS, split_by_share(candidates(PROMPTS), 0.1)))
    shuffled = random.Random(3).sample(PROMPTS, len(PROMPTS))
    assert dict(zip(shuffled, split_by_share(candidates(shuffled), 0.1))) == whole
    more = [f"another {n}" for n in range(50)] + PROMPTS
    assert dict(zip(more, split_by_share(candidates(more), 0.1))).items() >= whole.items()


def test_spellings_of_a_prompt_and_several_references_are_kept_apart_as_the_leakage_check_does() -> None:
    twins = [text for prompt in PROMPTS[:30] for text in (prompt, prompt.upper() + "!")]
    splits = split_by_share(candidates(twins), 0.3)
    assert splits[::2] == splits[1::2] and set(splits) == {"train", "new_prompts"}


def photograph(folder: Path, seed: int, name: str, **options) -> Path:
    from recipes.scenes.render import make_scenes

    picture = make_scenes(seed + 1, 0)[seed][3]
    path = folder / name
    picture.resize((96, 96) if "quality" in options else picture.size).save(path, **options)
    return path


def test_copies_of_an_image_stay_together(tmp_path: Path) -> None:
    paths = []
    for seed in range(8):
        paths += [photograph(tmp_path, seed, f"{seed}.png"), photograph(tmp_path, seed, f"{seed}.jpg", quality=70)]
    pictures = inspect(hashes_of(paths), tmp_path / "seen.jsonl")
    all_of = [Candidate(f"{n} things", None, pictures[path]) for n, path in enumerate(paths)]
    copies = copies_among(pictures.values(), tmp_path / "copies.json")
    splits = split_by_share(all_of, 0.4, copies=copies)
    assert splits[::2] == splits[1::2] and set(splits) == {"train", "new_prompts"}
    told = overlaps(all_of, ["train", "new_prompts"] * 8, copies)
    assert {(one.kind, one.train, one.bench) for one in told} == {("image", f"{n}.png", f"{n}.jpg") for n in range(8)}
    with pytest.raises(UserError, match="8 items are in both training and held-out splits"):
        require_apart(all_of, ["train", "new_prompts"] * 8, copies)


def test_copies_are_sought_once_and_among_many_only_until_they_hang_together(tmp_path: Path, monkeypatch) -> None:
    paths = [photograph(tmp_path, 0, f"{quality}.jpg", quality=quality) for quality in (60, 70, 80, 90)]
    pictures = inspect(hashes_of(paths), tmp_path / "seen.jsonl")
    copies = copies_among(pictures.values(), tmp_path / "copies.json")
    files = {picture.sha256 for picture in pictures.values()}
    assert len(copies) == 3 and {name for _, *names in copies for name in names} == files
    monkeypatch.setattr("recipes.distillation.image_check.fingerprints", lambda images: pytest.fail("sought again"))
    assert copies_among(reversed(pictures.values()), tmp_path / "copies.json") == copies


def test_a_set_that_hangs_together_says_so(tmp_path: Path) -> None:
    same = candidates(["a house"] * 5)
    with pytest.raises(UserError, match="All images belong to 1 prompt"):
        split_by_share(same, 0.1)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    [picture] = inspect(hashes_of([tmp_path / "a.png"]), tmp_path / "seen.jsonl").values()
    with pytest.raises(UserError, match="All images belong to 6 prompts that share copies"):
        split_by_share([Candidate(prompt, None, picture) for prompt in PROMPTS[:6]], 0.1)


def test_a_large_group_is_learnt_from(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    [picture] = inspect(hashes_of([tmp_path / "a.png"]), tmp_path / "seen.jsonl").values()
    group = [Candidate(prompt, None, picture) for prompt in PROMPTS[:20]]
    splits = split_by_share([*group, *candidates(PROMPTS[20:35])], 0.5)
    assert set(splits[:20]) == {"train"} and "new_prompts" in splits


def test_sizes_count_prompts_as_the_leakage_check_tells_them_apart() -> None:
    items = [
        Item(str(n), p, "x", None, s, "t")
        for n, (p, s) in enumerate([("A cat", "test"), ("a cat!", "test"), ("b", "train")])
    ]
    assert {name: (size.images, size.prompts) for name, size in split_sizes(items).items()} == {
        "train": (1, 1),
        "test": (2, 1),
    }
