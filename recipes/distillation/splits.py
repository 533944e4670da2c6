"""Decides which images are for training and which for the benchmark. Prompts and copies of images stay together.

Whatever shares a prompt (normalised as the leakage check does), a file or a copy of an image is one group, and a group
goes to one split, so that the check after training, which has the same finder, finds nothing. Which one depends on a
hash of its prompts alone: rows that are added, removed or put in another order leave the others where they are.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from recipes.distillation.copies import Copies, Groups, Overlap
from recipes.distillation.image_check import Picture
from recipes.recipe.items import NEW_PROMPTS, TRAIN, Item, normalise, task_of
from t2i_judge.errors import UserError
from t2i_judge.wording import counted

ENOUGH = 10  # prompts that are held out where there are 30 and more, and nobody says how many
_FEW = 3  # no coefficient is made of fewer
_STEP = 0.05  # by which the share grows until there are enough


@dataclass(frozen=True)
class Candidate:
    """An image that needs a split: its prompt, the SHA-256 of its reference image, and its fingerprint."""

    prompt: str
    reference_sha256: str | None
    picture: Picture

    @property
    def task(self) -> str:
        """What is asked for, as the leakage check compares it."""
        return normalise(task_of(self.prompt, self.reference_sha256))


def split_by_share(
    candidates: Sequence[Candidate], share: float, at_least: int | None = None, copies: Copies = ()
) -> list[str]:
    """`train` or `new_prompts` for each candidate.

    Args:
        candidates: images that can be decoded.
        share: share of the prompts to hold out, in [0, 1); 0 holds out none, unless `at_least` is given.
        at_least: fewest prompts to hold out; None: 10, or about a third if there are fewer than 30.
        copies: what `image_check.copies_among` finds among the images.

    Raises:
        UserError: copies and prompts are connected so that this share cannot be held out.
    """
    if not share and at_least is None:
        return [TRAIN] * len(candidates)
    groups = grouped(candidates, copies)
    tasks: dict[int, set[str]] = {}
    for number, candidate in enumerate(candidates):
        tasks.setdefault(groups.root(number), set()).add(candidate.task)
    total = sum(map(len, tasks.values()))
    wanted = at_least if at_least is not None else min(ENOUGH, max(_FEW, total // 3), total // 2)
    kept = _held_out(tasks, share, wanted)
    if (count := sum(len(tasks[root]) for root in kept)) < (wanted if at_least is not None else 1):
        raise _cannot(total, wanted, count, [len(prompts) for prompts in tasks.values()])
    return [NEW_PROMPTS if groups.root(number) in kept else TRAIN for number in range(len(candidates))]


def _held_out(tasks: Mapping[int, set[str]], share: float, wanted: int) -> set[int]:
    """Roots of the groups that are held out; a group with more than half of the prompts is learnt from."""
    total = sum(map(len, tasks.values()))
    places = {root: _place(prompts) for root, prompts in tasks.items() if 2 * len(prompts) <= total}
    while True:
        kept = {root for root, place in places.items() if place < share}
        if len(kept) == len(tasks):  # something must be left to learn from
            kept.remove(max(kept, key=lambda root: places[root]))
        if sum(len(tasks[root]) for root in kept) >= wanted or share >= 1:
            return kept
        share += _STEP


def _place(prompts: set[str]) -> float:
    """Where a group stands in [0, 1), by a hash of one of its prompts: which, is another hash's choice.

    The least of all their hashes would hold out large groups more often than small ones.
    """
    chosen = min(prompts, key=lambda prompt: hashlib.sha256(f"who {prompt}".encode()).digest())
    return int.from_bytes(hashlib.sha256(chosen.encode()).digest()[:4]) / 2**32


def _cannot(total: int, wanted: int, count: int, sizes: Sequence[int]) -> UserError:
    if len(sizes) == 1:
        return UserError(
            f"All images belong to {counted(total, 'prompt', 'prompts that share copies of images')}",
            "Images with the same prompt or the same picture must be in one split, so no images are left to measure on",
            "Add images of other prompts, or set data.held_out: 0 to train without measuring",
        )
    return UserError(
        f"{count} of {total} prompts can be held out, but data.held_out_min is {wanted}",
        f"Prompts that share copies of images stay in one split: the largest of {len(sizes)} groups has {max(sizes)}",
        "Lower data.held_out_min, add prompts, or remove copies",
    )


def grouped(candidates: Sequence[Candidate], copies: Copies = ()) -> Groups:
    """Who belongs together: the same task, the same file, or a copy of an image."""
    groups = Groups(list(range(len(candidates))))
    first: dict[str, int] = {}
    for number, candidate in enumerate(candidates):
        for key in (f"task {candidate.task}", f"file {candidate.picture.sha256}"):
            groups.join(number, first.setdefault(key, number))
    for _, one, other in copies:
        groups.join(first[f"file {one}"], first[f"file {other}"])
    return groups


def require_apart(candidates: Sequence[Candidate], splits: Sequence[str], copies: Copies = ()) -> None:
    """Raise `UserError` for prompts or images that a column of splits gives to training and to the benchmark."""
    if shared := overlaps(candidates, splits, copies):
        listed = "; ".join(map(str, shared[:5])) + (f"; and {len(shared) - 5} more" if len(shared) > 5 else "")
        raise UserError(
            f"{counted(len(shared), 'item is', 'items are')} in both training and held-out splits of data.split",
            listed,
            "Give items with the same prompt or the same image the same split",
        )


def overlaps(candidates: Sequence[Candidate], splits: Sequence[str], copies: Copies = ()) -> list[Overlap]:
    """What training and the held-out splits share, by the measures of the leakage check."""

    def named(kind: str, a: int, b: int) -> Overlap:
        train, bench = (a, b) if splits[a] == TRAIN else (b, a)
        texts = [candidates[n].prompt if kind == "prompt" else candidates[n].picture.path.name for n in (train, bench)]
        return Overlap(kind, *texts)

    shared: dict[Overlap, None] = {}
    for kind in ("prompt", "bytes"):
        learnt: dict[str | None, int] = {}
        keys = [c.task if kind == "prompt" else c.picture.sha256 for c in candidates]
        for number, key in enumerate(keys):
            if splits[number] == TRAIN:
                learnt.setdefault(key, number)
        for number, key in enumerate(keys):
            if splits[number] != TRAIN and key in learnt:
                shared[named(kind, learnt[key], number)] = None
    of_file: dict[str | None, list[int]] = {}
    for number, candidate in enumerate(candidates):
        of_file.setdefault(candidate.picture.sha256, []).append(number)
    for kind, one, other in copies:
        for a, b in product(of_file.get(one, ()), of_file.get(other, ())):
            if (splits[a] == TRAIN) != (splits[b] == TRAIN):
                shared[named(kind, a, b)] = None
    return list(shared)


@dataclass(frozen=True)
class SplitSize:
    """How much a split holds: images, and prompts as the leakage check tells them apart."""

    images: int
    prompts: int


def split_sizes(items: Sequence[Item]) -> dict[str, SplitSize]:
    """Size of each split, training first."""
    images = Counter(item.split for item in items)
    prompts = Counter(split for split, _ in {(item.split, normalise(item.prompt)) for item in items})
    return {
        split: SplitSize(images[split], prompts[split])
        for split in sorted(images, key=lambda name: (name != TRAIN, name))
    }
