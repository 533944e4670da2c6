"""The battery: items are changed once by every attack, and a judge is asked about them plain and changed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...errors import Undecided
from ...inputs.images import ImageError, load_image
from ...judges.base import Judge
from ...records import OVERALL, Judgement, Status
from .attacks import ATTACKS, ORDER, OTHER_PROMPT, Attack
from .probes import MINIMUM_PROMPTS, Probe, Verdict, assess, verdict_on


@dataclass(frozen=True)
class Sample:
    """An image as a caller has it, its prompt, and its reference image where the judge needs one."""

    image: Any
    prompt: str
    reference: Any = None


@dataclass(frozen=True)
class Attacked:
    """An attack and what it made of the samples that it applies to, by their numbers."""

    attack: Attack
    changed: tuple[tuple[int, Sample], ...]


@dataclass(frozen=True)
class Selftest:
    """What a selftest found: the verdict on the judge, and every probe's.

    Attributes:
        judge: `JudgeInfo` as JSON.
        n, prompts: items that the judge scored unchanged, and their prompts.
        needed: prompts with which the inconclusive probes would decide; None: nothing is open, or it cannot be said.
    """

    judge: dict[str, Any]
    n: int
    prompts: int
    verdict: Verdict
    needed: int | None
    probes: tuple[Probe, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**vars(self), "probes": [probe.to_json() for probe in self.probes]}


def readable(samples: Sequence[Sample]) -> list[Sample]:
    """The samples that can be read, loaded."""
    loaded = []
    for sample in samples:
        try:
            loaded.append(Sample(load_image(sample.image), sample.prompt, sample.reference))
        except ImageError:
            continue
    return loaded


def attacked(samples: Sequence[Sample], attacks: Sequence[Attack] = ATTACKS, seed: int = 0) -> list[Attacked]:
    """Every attack on every sample that it leaves the truth of; the same seed makes the same."""
    return [
        Attacked(attack, tuple(_changed(attack, samples, random.Random(f"{attack.name}/{seed}")))) for attack in attacks
    ]


def _changed(attack: Attack, samples: Sequence[Sample], rng: random.Random) -> Iterator[tuple[int, Sample]]:
    for number, sample in enumerate(samples):
        if not attack.applies(sample.prompt):
            continue
        image = attack.paint(sample.image, sample.prompt, rng) if attack.paint else sample.image
        prompt = f"{sample.prompt}{attack.suffix}"
        if attack.name == OTHER_PROMPT:
            others = [other.prompt for other in samples if other.prompt != sample.prompt]
            if not others:
                continue
            prompt = rng.choice(others)
        yield number, Sample(image, prompt, sample.reference)


def examine(judge: Judge, samples: Sequence[Sample], attacks: Sequence[Attacked], progress: bool = False) -> Selftest:
    """Ask a judge about samples plain and changed.

    Args:
        judge: who is tested.
        samples: good images of its kind, loaded (`readable`).
        attacks: from `attacked`, of the same samples.
        progress: show bars.

    Raises:
        Undecided: no call came back, or fewer than two samples are scored even unchanged.
    """
    plain = _judge(judge, samples, None, progress)
    if plain and all(judgement.status is Status.TRANSPORT for judgement in plain):
        raise Undecided("no call came back", str(plain[0].reason), "see that the server runs, then run it again")
    kept = {n for n, j in enumerate(plain) if j.status is Status.OK and j.scores.get(OVERALL) is not None}
    if len(kept) < 2:
        reason = next((str(j.reason) for j in plain if j.reason), "none could be read")
        raise Undecided(f"{len(kept)} of {len(samples)} images are scored at all", reason, "bring other images")
    low, high = judge.score_range
    probes = []
    for one in attacks:
        chosen = [(n, sample) for n, sample in one.changed if n in kept]
        questions = _questions(one.attack, [plain[n] for n, _ in chosen])
        if one.attack.name == ORDER and questions is not None and not any(len(asked) > 1 for asked in questions):
            reason = "this judge asks no several questions"
            probes.append(Probe(one.attack.name, one.attack.expectation, "not applicable", reason))
            continue
        after = _judge(judge, [sample for _, sample in chosen], questions, progress)
        pairs = [(samples[n].prompt, plain[n], later) for (n, _), later in zip(chosen, after, strict=True)]
        probes.append(assess(one.attack, pairs, high - low, len(attacks), len(kept) - len(chosen)))
    return _selftest(judge, samples, kept, probes)


def _selftest(judge: Judge, samples: Sequence[Sample], kept: set[int], probes: Sequence[Probe]) -> Selftest:
    needed = [probe.needed for probe in probes if probe.needed is not None]
    unknown = any(probe.verdict == "inconclusive" and probe.needed is None for probe in probes)
    return Selftest(
        asdict(judge.info),
        len(kept),
        len({samples[n].prompt for n in kept}),
        verdict_on(probes),
        None if unknown or not needed else max(MINIMUM_PROMPTS, *needed),
        tuple(probes),
    )


def _questions(attack: Attack, plain: Sequence[Judgement]) -> list[Any] | None:
    """The questions of the plain item, so that only what is attacked changes; none where the prompt is another."""
    if attack.suffix or attack.name == OTHER_PROMPT:
        return None
    return [list(judgement.questions)[:: -1 if attack.name == ORDER else 1] for judgement in plain]


def _judge(judge: Judge, samples: Sequence[Sample], questions: Sequence[Any] | None, progress: bool) -> list[Judgement]:
    if not samples:
        return []
    return judge.score(
        [sample.image for sample in samples],
        [sample.prompt for sample in samples],
        [sample.reference for sample in samples],
        questions=None if questions is None else [asked or None for asked in questions],
        progress=progress,
    )


def selftest(
    judge: Judge, samples: Sequence[Sample], attacks: Sequence[Attack] = ATTACKS, seed: int = 0, progress: bool = False
) -> Selftest:
    """Run the battery on samples as a caller has them; raises `Undecided` as `examine`."""
    loaded = readable(samples)
    return examine(judge, loaded, attacked(loaded, attacks, seed), progress)
