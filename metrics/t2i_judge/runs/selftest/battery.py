"""The battery: every attack changes the items, and a judge is asked about them before and after.

An attack that must not raise a score is made on images under another item's prompt: there is room to rise, and no
higher score is deserved. A good image that begs for more would say little about the judge.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ...errors import Undecided
from ...inputs.images import ImageError, load_image
from ...judges.base import Judge
from ...records import OVERALL, JudgeInfo, Judgement, Question, Status
from ...wording import counted
from .attacks import ATTACKS, ORDER, OTHER_PROMPT, REPETITION, Attack
from .probes import MINIMUM_PROMPTS, Probe, Verdict, assess, verdict_on

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Picture:
    """A picture that can be read. Its pixels are held by nobody: it is opened whenever a judge asks for it.

    Attributes:
        source: as the caller has it.
        size: width and height of the upright picture.
    """

    source: Any
    size: tuple[int, int]

    def __call__(self) -> Image.Image:
        """The picture, opened. Raises `ImageError` if it cannot be read any more."""
        return load_image(self.source)


@dataclass(frozen=True)
class Sample:
    """An image as the caller has it, its prompt, and its reference image if the judge needs one."""

    image: Any
    prompt: str
    reference: Any = None


@dataclass(frozen=True)
class Attacked:
    """An attack and its samples. A changed picture is painted whenever a judge asks for it, each time the same.

    Attributes:
        attack: which.
        samples: as they were brought.
        seed: of what is drawn at random.
    """

    attack: Attack
    samples: Sequence[Sample]
    seed: int = 0

    @cached_property
    def before(self) -> tuple[Sample, ...]:
        """Each sample before the attack: as it is, or under another sample's prompt."""
        return tuple(mismatched(self.samples, self.seed) if self.attack.undeserved else self.samples)

    @property
    def changed(self) -> tuple[tuple[int, Sample], ...]:
        """Number -> changed sample, for samples to which the attack applies. A seed always gives the same."""
        return tuple(self._changed())

    def _changed(self) -> Iterator[tuple[int, Sample]]:
        attack = self.attack
        if attack.name == OTHER_PROMPT:
            others = enumerate(mismatched(self.samples, self.seed))
            yield from ((n, other) for n, other in others if other.prompt != self.samples[n].prompt)
            return
        for number, (own, sample) in enumerate(zip(self.samples, self.before, strict=True)):
            if attack.applies(own.prompt) and attack.applies(sample.prompt):
                image = partial(self._painted, number) if attack.paint else sample.image
                yield number, Sample(image, f"{sample.prompt}{attack.suffix}", sample.reference)

    def _painted(self, number: int) -> Image.Image:
        """The picture of a sample after the attack."""
        assert self.attack.paint is not None
        sample, rng = self.before[number], random.Random(f"{self.attack.name}/{self.seed}/{number}")
        return self.attack.paint(load_image(sample.image), sample.prompt, rng)


@dataclass(frozen=True)
class Case:
    """One item before and after an attack, with both judgements."""

    before: Sample
    after: Sample
    judged_before: Judgement
    judged_after: Judgement


@dataclass(frozen=True)
class Selftest:
    """The result of a selftest: the verdict on the judge, and every probe.

    Attributes:
        judge: `JudgeInfo` as JSON.
        n, prompts: number of items that the judge scored without an attack, and of their prompts.
        needed: number of prompts that would decide the inconclusive probes; None if none is open, or it is unknown.
        reason: why the selftest could not be made, if so.
    """

    judge: dict[str, Any]
    n: int
    prompts: int
    verdict: Verdict
    needed: int | None
    probes: tuple[Probe, ...]
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `from_json` of it is equal to self."""
        return {**vars(self), "probes": [probe.to_json() for probe in self.probes]}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Selftest:
        """Inverse of `to_json`."""
        known = {name: record[name] for name in cls.__dataclass_fields__}
        return cls(**known | {"probes": tuple(map(Probe.from_json, record["probes"]))})


Questions = Sequence[Sequence[Question] | None] | None
Ask = Callable[[str, Sequence[Sample], Questions], list[Judgement]]
Watch = Callable[[Attack, Probe, Sequence[Case]], None]


def readable(samples: Sequence[Sample]) -> list[Sample]:
    """The samples that can be read, each with a `Picture`."""
    sound = []
    for sample in samples:
        with suppress(ImageError):
            picture = Picture(sample.image, load_image(sample.image).size)
            sound.append(Sample(picture, sample.prompt, sample.reference))
    return sound


def mismatched(samples: Sequence[Sample], seed: int = 0) -> list[Sample]:
    """The samples under each other's prompts: every prompt goes to another one's images; a single prompt stays."""
    prompts = sorted({sample.prompt for sample in samples})
    random.Random(f"mismatched/{seed}").shuffle(prompts)
    following = dict(zip(prompts, [*prompts[1:], *prompts[:1]]))
    return [Sample(sample.image, following[sample.prompt], sample.reference) for sample in samples]


def attacked(samples: Sequence[Sample], attacks: Sequence[Attack] = ATTACKS, seed: int = 0) -> list[Attacked]:
    """Every attack on every sample to which it applies. The same seed gives the same result."""
    return [Attacked(attack, samples, seed) for attack in attacks]


def examine(
    judge: Judge,
    samples: Sequence[Sample],
    attacks: Sequence[Attacked],
    progress: bool = False,
    watch: Watch | None = None,
    ask: Ask | None = None,
) -> Selftest:
    """Ask a judge about samples before and after each attack.

    Args:
        judge: who is tested.
        samples: good images of its kind that can be read (`readable`).
        attacks: from `attacked`, of the same samples.
        progress: show bars.
        watch: called with every attack, its probe, and the cases behind it.
        ask: judges items instead of the judge's own `score`. It gets the purpose, the items, and their questions if the
            judge does not choose them.

    Raises:
        Undecided: no call came back, or fewer than two samples have a score even without an attack.
    """
    trial = _Trial(judge, samples, attacks, ask or asking(judge, progress))
    probes = []
    for one in attacks:
        probe, cases = trial.probe(one)
        probes.append(probe)
        if watch is not None:
            watch(one.attack, probe, cases)
    needed = [probe.needed for probe in probes if probe.needed is not None]
    unknown = any(probe.verdict == "inconclusive" and probe.needed is None for probe in probes)
    return Selftest(
        asdict(trial.judge_of_replies()),
        len(trial.kept),
        len({samples[n].prompt for n in trial.kept}),
        verdict_on(probes),
        None if unknown or not needed else max(MINIMUM_PROMPTS, *needed),
        tuple(probes),
    )


class _Trial:
    """One judge on one set of samples: what it says of them without any attack, and then of each attack."""

    def __init__(self, judge: Judge, samples: Sequence[Sample], attacks: Sequence[Attacked], ask: Ask) -> None:
        self.judge, self.samples, self.attacks, self.ask = judge, samples, len(attacks), ask
        self.plain = ask("plain", samples, None) if samples else []
        if self.plain and all(judgement.status is Status.TRANSPORT for judgement in self.plain):
            reason = str(self.plain[0].reason)
            raise Undecided("No call succeeded", reason, "Check that the server runs, then run the command again")
        self.kept = {n for n, judgement in enumerate(self.plain) if _scored(judgement)}
        if len(self.kept) < 2:
            reason = next((str(j.reason) for j in self.plain if j.reason), "None could be read")
            of = counted(len(samples), "image")
            raise Undecided(f"There is a score for only {len(self.kept)} of {of}", reason, "Use other images")
        self._others: dict[int, Judgement] = {}

    def judge_of_replies(self) -> JudgeInfo:
        """Who judged: with the snapshot that a server named, if it named one and the same in all replies."""
        told = {self.plain[number].judge.revision for number in self.kept}
        return replace(self.judge.info, revision=told.pop()) if len(told) == 1 else self.judge.info

    def probe(self, one: Attacked) -> tuple[Probe, list[Case]]:
        """The probe of one attack."""
        attack, chosen = one.attack, [(n, sample) for n, sample in one.changed if n in self.kept]
        left_out = len(self.kept) - len(chosen)
        before = self._others_of(one) if attack.undeserved else dict(enumerate(self.plain))
        unscored = {n for n, _ in chosen if not _scored(before[n])}
        chosen = [(n, sample) for n, sample in chosen if n not in unscored]
        if unscored and not chosen:
            reason = "images with another item's prompt have no score"
            return Probe(attack.name, attack.expectation, "inconclusive", reason, left_out=left_out), []
        questions = _questions(attack, [before[n] for n, _ in chosen])
        if attack.name == ORDER and questions is not None and not any(len(asked or ()) > 1 for asked in questions):
            reason = "this judge does not ask several questions"
            return Probe(attack.name, attack.expectation, "not applicable", reason), []
        if attack.name == OTHER_PROMPT:
            others = self._others_of(one)
            after = [others[n] for n, _ in chosen]
        else:
            after = self.ask(attack.name, [sample for _, sample in chosen], questions) if chosen else []
        cases = [Case(one.before[n], s, before[n], a) for (n, s), a in zip(chosen, after, strict=True)]
        pairs = [(case.before.prompt, case.judged_before, case.judged_after) for case in cases]
        low, high = self.judge.score_range
        return assess(attack, pairs, high - low, self.attacks, left_out + len(unscored)), cases

    def _others_of(self, one: Attacked) -> dict[int, Judgement]:
        """Judgements of the samples that are scored under their own prompts, under another's; asked once."""
        if not self._others:
            others, numbers = mismatched(self.samples, one.seed), sorted(self.kept)
            judged = self.ask(OTHER_PROMPT, [others[n] for n in numbers], None)
            self._others = dict(zip(numbers, judged, strict=True))
        return self._others


def _scored(judgement: Judgement) -> bool:
    return judgement.status is Status.OK and judgement.scores.get(OVERALL) is not None


def _questions(attack: Attack, before: Sequence[Judgement]) -> Questions:
    """The questions of the item before, so that only what is attacked changes; none where the prompt is another."""
    if attack.suffix or attack.name == OTHER_PROMPT:
        return None
    return [list(judgement.questions)[:: -1 if attack.name == ORDER else 1] or None for judgement in before]


def asking(judge: Judge, progress: bool = False) -> Ask:
    """Ask the judge itself. A repeated question is really asked again, not answered from kept replies."""

    def ask(what: str, samples: Sequence[Sample], questions: Questions) -> list[Judgement]:
        with judge.anew() if what == REPETITION else nullcontext():
            return judge.score(
                [sample.image for sample in samples],
                [sample.prompt for sample in samples],
                [sample.reference for sample in samples],
                image_ids=[str(number) for number in range(len(samples))],  # else each is encoded for its hash
                questions=questions,
                progress=progress,
            )

    return ask


def selftest(
    judge: Judge, samples: Sequence[Sample], attacks: Sequence[Attack] = ATTACKS, seed: int = 0, progress: bool = False
) -> Selftest:
    """Run the battery on samples as a caller has them; raises `Undecided` as `examine`."""
    sound = readable(samples)
    return examine(judge, sound, attacked(sound, attacks, seed), progress)
