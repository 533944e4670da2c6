"""The boards of the Leaderboard tab: run folders of `t2i-judge leaderboard`, and the benchmark's own generators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmark import BenchItem, Benchmark
from benchmark_tables import PEOPLE, score_of
from t2i_judge.boards.items import BoardItem
from t2i_judge.boards.leaderboard import leaderboard
from t2i_judge.boards.report.pictures import Source
from t2i_judge.boards.report.run import report, report_of_run
from t2i_judge.boards.scores import Scores, scored
from t2i_judge.errors import UserError, quoted
from t2i_judge.inputs.cells import LIMITS
from t2i_judge.inputs.decoding import Decoders
from t2i_judge.records import ALL_ASPECTS, OVERALL, Status
from t2i_judge.terminal import note

Row = dict[str, Any]
_DECODERS = Decoders(count=1)
PICTURES = 240  # inside a board: it is sent to every visitor who opens it


class Boards:
    """Boards by the name that visitors choose. Each is a page like `report.html`.

    Args:
        benchmark: whose generators are compared, by each of its judges and by people; None for none.
        runs: run folders. Visitors see only their last names, not their paths.
    """

    def __init__(self, benchmark: Benchmark | None, runs: Sequence[str] = ()) -> None:
        self._benchmark = benchmark
        self._runs = {_name(Path(run), number): Path(run) for number, run in enumerate(runs)}
        self._scorers: dict[str, str] = {}
        if benchmark is not None:
            asked = [judge for judge in benchmark.judges if _scored(benchmark.items, judge)]
            people = [PEOPLE] if _scored(benchmark.items, PEOPLE) else []
            self._scorers = {f"the benchmark by {scorer}": scorer for scorer in [*asked, *people]}

    @property
    def names(self) -> list[str]:
        """What there is to choose from: runs first."""
        return [*self._runs, *self._scorers]

    def page(self, name: str) -> str:
        """The report as HTML.

        Raises:
            UserError: there is no such board, or its folder holds none.
        """
        if name not in self.names:
            raise UserError(f"There is no board {quoted(name)}", "It is not in the list", "Choose one from the list")
        if (run := self._runs.get(name)) is None:
            return self._of_benchmark(self._scorers[name])
        try:
            return report_of_run(run, most=PICTURES, links=False, decode=_decoded)
        except UserError as error:
            note(f"RUNS: {error}")  # it names the folder, which is the owner's business
            reason, fix = "Its folder holds no finished board", "Choose another one, or tell the owner"
            raise UserError(f"The board {quoted(name)} cannot be shown", reason, fix) from error

    def _of_benchmark(self, scorer: str) -> str:
        assert self._benchmark is not None
        benchmark = self._benchmark
        items = [item for item in benchmark.items if _outcome(item, scorer) is not None]

        def judged() -> Iterator[tuple[BoardItem, Row]]:
            for item in items:
                line = _outcome(item, scorer)
                assert line is not None
                yield BoardItem(item.key, item.generator, item.prompt, item.id, "", category=item.split), line

        def load(item: BoardItem) -> Image.Image | None:
            return benchmark.picture(benchmark.by_key[item.id])

        scores = [score for item in items if (score := score_of(item, scorer, OVERALL)) is not None]
        declared = benchmark.score_range(scorer, OVERALL)
        # of scores that are all equal no axis can be made
        shown = declared or (min(scores), max(scores) if max(scores) > min(scores) else min(scores) + 1)
        images = [scored(item, line) for item, line in judged()]
        board = leaderboard(Scores(images, list(dict.fromkeys(item.generator for item in items)), declared))
        board["judge"] = {"name": scorer, "revision": None, "template_hash": None}
        board["judge"] |= {"score_range": list(shown), "range_seen": declared is None}
        board["prompts"] = {"n": len({item.prompt for item in items}), "images": len(items), "source": benchmark.name}
        return report(board, Source(judged, load, most=PICTURES))


def _decoded(data: bytes) -> Image.Image:
    """A picture of a run's folder, which a stranger may have made, decoded in a process of its own."""
    return _DECODERS.pixels(data, LIMITS)


def _name(run: Path, number: int) -> str:
    return f"{number + 1}. {run.resolve().name}"


def _scored(items: Sequence[BenchItem], scorer: str) -> bool:
    """Whether a scorer gave any image an overall score."""
    return any(score_of(item, scorer, OVERALL) is not None for item in items)


def _outcome(item: BenchItem, scorer: str) -> Row | None:
    """What a scorer said of an image, as the line of a judgement; None where it was not asked."""
    record = item.baseline(scorer, OVERALL)
    if scorer == PEOPLE:
        status = Status.OK.value if item.human_mean(OVERALL) is not None else None
    else:
        status = record["status"] if record else None
    if status is None:
        return None
    failed = status != Status.OK.value
    scores = {aspect: None if failed else score_of(item, scorer, aspect) for aspect in ALL_ASPECTS}
    reason = "the benchmark does not record the reason" if failed else None
    return {"status": status, "reason": reason, "scores": scores, "questions": [], "answers": []}
