"""A large run in shards: rows `[k * size, (k + 1) * size)` of a table, judged, written, marked; resumable at any shard.

DIR/run.json says what the run is. Shard k is DIR/shards/k.jsonl (a line per item: its `Judgement`, the SHA-256 of its
images as they are stored, the columns kept) and, written last, its marker DIR/shards/k.json (rows, statuses, sums of
scores, usage, the SHA-256 of its lines). A shard is done again only if it has no marker, a marker that does not fit its
lines, or other images now. A run counts its scores from the lines.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import read_jsonl, read_object, sha256, sha256_once, write_atomic
from ..inputs.folders import is_image_folder
from ..inputs.readers import Row, count_rows, iter_rows
from ..inputs.rows import Columns, identity, image_hash, read_decompositions
from ..judges.names import JudgeName
from ..records import Judgement, Question, Status
from . import intervals
from .groups import grouped
from .lines import SHARDS, read_lines
from .record import OF_JUDGE, RUN, earlier, refusal, require_precision
from .scores import check_kept, kept_cells, write_scores
from .standing import IMAGES, Standing, asked, matched, row_changed
from .tallies import adds_up, summed, tally, tally_of_lines

if TYPE_CHECKING:
    from ..conformal import Conformal
    from ..judges.base import Judge

# Outcomes that stay the same when an item is judged again.
_LASTING = {Status.OK.value, Status.IMAGE_ERROR.value, Status.SKIPPED.value}
_WITHIN = ("named", "table")  # of the columns, what run.json says elsewhere
_LINE = {"image_id", "prompt", "status", "reason", "scores", "row"}
SUMMARY, SCORES = "summary.json", "scores.csv"


@dataclass(frozen=True)
class Run:
    """Everything that a worker on any machine needs to judge a shard.

    Attributes:
        source, columns: the rows (see `readers.iter_rows`).
        judge, options: name of the judge and the options of `load_judge`.
        out: folder of results; on a cluster, one that all machines share.
        size: rows per shard.
        limit: number of rows, None for all.
        keep: columns of the table that go into scores.csv.
        prompts_from: of a folder of images (see `inputs.folders`).
        decompositions: JSON Lines of {prompt, questions}; other prompts are decomposed by the judge.
        isolate_images: a worker on another machine decodes images in processes of their own (`decoding.apart`).
    """

    source: str
    columns: Columns
    judge: str
    options: Mapping[str, Any]
    out: Path
    size: int = 500
    limit: int | None = None
    keep: tuple[str, ...] = ()
    prompts_from: str | None = None
    explain: bool = False
    decompositions: Path | None = None
    isolate_images: bool = False

    @cached_property
    def questions(self) -> dict[str, list[Question]]:
        """Prompt -> questions that exist already."""
        return read_decompositions(self.decompositions) if self.decompositions else {}

    def load_judge(self) -> Judge:
        """The judge of this run."""
        from ..judges.loading import load_judge

        return load_judge(self.judge, **self.options)

    def begin(self, anew: bool = False) -> None:
        """Write run.json, or check that the existing one is of the same run. Raises `UserError` if it is not.

        Args:
            anew: replace the record of another run, whose judgements of these rows are there.
        """
        record = {
            "source": identity(self.source, self.prompts_from),
            "columns": {
                n: str(value) if value else None for n, value in asdict(self.columns).items() if n not in _WITHIN
            },
            "judge": str(JudgeName.parse(self.judge)),  # without a login in its address
            **asked(self.judge, self.options),
            "prompts_from": self.prompts_from,
            "size": self.size,
            "limit": self.limit,
            "explain": self.explain,
            "decompositions": {"sha256": sha256(self.decompositions)}
            if self.questions and self.decompositions
            else None,
        }
        old = earlier(self.out, record)
        if old.get("decompositions") == str(self.decompositions):  # runs used to record its name
            old["decompositions"] = record["decompositions"]
        changed = [name for name in record if old.get(name) != record[name]] if old and not anew else []
        if changed == ["limit"] and (self.limit or math.inf) > (old["limit"] or math.inf):
            self._forget(shard for shard, marker in self._all_done() if marker["rows"] < self.size)
        elif changed and not (OF_JUDGE.issuperset(changed) and self._is_judged_again()):
            raise refusal(self.out, changed[0], old.get(changed[0]), record[changed[0]])
        digest = intervals.digest(self.judge, self.options)
        if old.get("intervals") != digest:
            self._carry(intervals.of_judge(self.judge, self.options))
        write_atomic(self.out / RUN, json.dumps({**record, "intervals": digest}, indent=2) + "\n")

    def _is_judged_again(self) -> bool:
        """Whether all that is judged already is so by another judge of this name, as every line tells."""
        return not any(map(self.standing.is_by_judge, self.kept_lines()))

    def _carry(self, others: Conformal | None) -> None:
        """Put other intervals into what is judged already: they follow from its scores, and cost no call."""
        for shard, marker in self._all_done():
            lines = list(read_jsonl(self._file(shard)))
            judgements = [intervals.carrying(others, Judgement.from_json(line)) for line in lines]
            rows = [{**one.to_json(), **_beside(line)} for one, line in zip(judgements, lines)]
            self._forget([shard])  # killed between lines and marker, the lines are kept
            self.put(shard, rows, judgements, marker["notes"])

    def rows(self) -> int:
        """Number of rows to judge. Raises `UserError` when the source cannot be read."""
        rows = count_rows(self.source, self.prompts_from)
        return rows if self.limit is None else min(rows, self.limit)

    def forget_failures(self) -> int:
        """Mark shards to be done again whose failures may pass, such as lost calls. Returns their number."""
        failed = [shard for shard, marker in self._all_done() if set(marker["statuses"]) - _LASTING]
        self._forget(failed)
        return len(failed)

    def forget_changed(self, hashes: str | None = None) -> Counter[str]:
        """Mark items to be judged again that have changed. Returns what has changed, and of how many items.

        Every image judged so far is read once, unless `hashes` names the column that has its SHA-256; those of a folder
        are part of what `begin` compares. Failed items of the same shard are judged again, too.
        """
        from ..progress import Progress

        done, changed = dict(self._all_done()), Counter[str]()
        rows = iter_rows(self.source, count=self.limit, prompts_from=self.prompts_from) if done else iter(())
        numbers = range(max(done, default=-1) + 1)
        for shard in Progress(numbers, desc="earlier judgements", unit="shard", delay=3):
            if not (part := list(islice(rows, self.size))):  # markers beyond the table's end are of another table
                self._forget(number for number in done if number >= shard)
                break
            if shard in done and (others := self._changes(shard, part, hashes)):
                self._forget([shard])
                changed += others
        return changed

    def _changes(self, shard: int, rows: Sequence[Row], hashes: str | None) -> Counter[str]:
        """What differs between the lines of a shard and the rows and the judge of this run."""
        lines, changes = list(self._lines(shard)), Counter[str]()
        images = hashes or not is_image_folder(self.source)
        for number, (line, row) in enumerate(zip(lines, rows), shard * self.size):
            item = self.columns.item(row, number)
            changes["a changed row"] += (is_another := row_changed(line, item, self._kept_cells(row)))
            changes["another judge"] += not is_another and not self.standing.is_by_judge(line)
            if images and not is_another:
                now = [row.get(hashes)] if hashes else self._hashes(item)
                unread = [[None]] if hashes else []  # a file too large to be judged has a hash, too
                changes["a changed image"] += line.get(IMAGES, now) not in [now, *unread]
        changes["a changed row"] += abs(len(lines) - len(rows))
        return +changes

    def require_precision(self, judge: Judge) -> None:
        """As `record.require_precision`, of what this judge has judged already."""
        standing = self.standing.opened(judge)
        fine = (line for line in self.kept_lines() if line["status"] == Status.OK.value)
        require_precision(self.out, (line["judge"] for line in fine if standing.is_by_judge(line)), judge.info)

    def _forget(self, shards: Iterable[int]) -> None:
        """Mark shards to be done again; what still counts of their lines is kept then."""
        for shard in shards:
            self._marker(shard).replace(self._retried(shard))

    def forget_others(self, judge: Judge, shards: Iterable[int] | None = None) -> int:
        """Mark shards (None: of all) to be done again with judgements that are not of this judge as loaded.

        Returns their number.
        """
        standing = self.standing.opened(judge)
        wanted = (shard for shard, _ in self._all_done()) if shards is None else shards
        done = [shard for shard in wanted if self.done(shard) is not None]
        others = [shard for shard in done if not all(map(standing.is_by_judge, self._lines(shard)))]
        self._forget(others)
        return len(others)

    @cached_property
    def standing(self) -> Standing:
        """What a line must say to be of this run's judge."""
        calibrated = bool(self.options.get("calibrated"))
        return Standing(JudgeName.parse(self.judge), bool(self.options.get("reward")), calibrated=calibrated)

    def _hashes(self, item: tuple[Any, str, Any, str]) -> list[str | None]:
        """Of an item's image, and of its reference image where there are any."""
        return [image_hash(item[0]), *([image_hash(item[2])] if self.columns.reference_image else [])]

    def _all_done(self) -> list[tuple[int, Row]]:
        """(number, marker) of every shard that is done, in order; on a cluster, not all before the last are."""
        names = [path.stem for path in (self.out / SHARDS).glob("*.json") if path.stem.isdecimal()]
        markers = [(shard, self.done(shard)) for shard in sorted(map(int, names))]
        return [(shard, marker) for shard, marker in markers if marker is not None]

    def rows_of(self, shard: int) -> Iterator[Row]:
        """The rows of a shard; none beyond the end."""
        start = shard * self.size
        most = self.size if self.limit is None else min(self.size, self.limit - start)
        return iter_rows(self.source, None, start, most, self.prompts_from) if most > 0 else iter(())

    def shards(self) -> Iterator[tuple[int, list[Row]]]:
        """(number, rows) of the shards that are not done yet, in one pass over the source; done ones are skipped."""
        shard = 0
        while True:
            while self.done(shard) is not None:
                shard += 1
            start = shard * self.size
            most = None if self.limit is None else max(0, self.limit - start)
            rows = iter_rows(self.source, None, start, most, self.prompts_from)
            while self.done(shard) is None:
                if not (taken := list(islice(rows, self.size))):
                    return
                yield shard, taken
                shard += 1

    def done(self, shard: int) -> Row | None:
        """The marker of a shard; None if it is not done."""
        try:
            marker = read_object(self._marker(shard))
        except UserError:  # not there, or torn
            return None
        return marker if adds_up(marker) and self._is_of(shard, marker) else None

    def _is_of(self, shard: int, marker: Row) -> bool:
        """Was the marker written for the lines that are there?"""
        try:
            if (digest := marker.get("sha256")) is not None:
                return bool(sha256_once(self._file(shard)) == digest)
            lines = sum(1 for _ in read_jsonl(self._file(shard)))
            return bool(lines == marker["rows"])  # of before markers had a hash
        except (OSError, UserError):
            return False

    def check(self, rows: Sequence[Row]) -> None:
        """Raise `UserError`, before anything is paid for, if rows lack a column or cannot be kept."""
        if rows:
            self.columns.check(rows[0], self.source)
        for row in rows:
            self._kept_cells(row)

    def _kept_cells(self, row: Row) -> Row:
        return kept_cells(row, self.keep, self.source)

    def judge_rows(self, shard: int, rows: list[Row], judge: Judge, progress: bool = False) -> list[Judgement]:
        """The judgements of a shard's rows. Those that were OK before are kept. Raises `UserError` as `check` does."""
        self.check(rows)
        items = [self.columns.item(row, shard * self.size + number) for number, row in enumerate(rows)]
        kept = self._kept(shard, judge, items)
        todo = [item for item, judgement in zip(items, kept) if judgement is None]
        images, prompts, references, ids = (list(column) for column in zip(*todo)) if todo else ([], [], [], [])
        judged = judge.score(
            images,
            prompts,
            references if self.columns.reference_image else None,
            image_ids=ids,
            questions=[self.questions.get(prompt) for prompt in prompts] if self.questions else None,
            explain=self.explain,
            progress=progress,
        )
        fresh = iter(judged)
        return [judgement or next(fresh) for judgement in kept]

    def _kept(self, shard: int, judge: Judge, items: Sequence[Any]) -> list[Judgement | None]:
        """Of each item, the judgement that was OK, by this judge and its questions, in a shard that was done before."""
        if not self._retried(shard).exists():
            return [None] * len(items)
        standing = self.standing.opened(judge)
        lines = matched(list(self._lines(shard)), items, [self._hashes(item) for item in items])
        former = [Judgement.from_json(line) if line and standing.is_by_judge(line) else None for line in lines]
        given = self.questions if JudgeName.parse(self.judge).takes_questions else {}
        fine = [one if one and one.status is Status.OK else None for one in former]
        kept = [one if one and one.questions == tuple(given.get(one.prompt, one.questions)) else None for one in fine]
        return [intervals.carrying(judge.intervals, one) if one else None for one in kept]

    def do(self, shard: int, rows: list[Row], judge: Judge, progress: bool = False) -> Row:
        """Judge the rows of a shard and write them, the marker last. Returns the marker.

        Raises:
            UserError: as `check`, or no call came back and the server is gone; the shard is not done then.
        """
        # Before they are judged: what changes meanwhile is judged again.
        images = [self._hashes(self.columns.item(row, number)) for number, row in enumerate(rows)]
        judgements = self.judge_rows(shard, rows, judge, progress)
        if judgements and all(judgement.status is Status.TRANSPORT for judgement in judgements):
            judge.check()  # a server that answers refuses these items only
        lines = [
            {**judgement.to_json(), IMAGES: hashes, "row": self._kept_cells(row)}
            for judgement, hashes, row in zip(judgements, images, rows)
        ]
        return self.put(shard, lines, judgements, judge.notes)

    def put(self, shard: int, lines: Iterable[Row], judgements: Iterable[Judgement], notes: Sequence[str] = ()) -> Row:
        """Write a shard's lines (a judgement each, and `_beside`), marker last; returns the marker."""
        text = self._put_lines(shard, lines)
        marker = {**tally(judgements), "notes": list(notes), "sha256": hashlib.sha256(text).hexdigest()}
        write_atomic(self._marker(shard), json.dumps(marker))
        self._retried(shard).unlink(missing_ok=True)
        return marker

    def put_known(self, shard: int, lines: Iterable[Row]) -> None:
        """Write lines of some of a shard's rows, which are not judged again when it is done."""
        self._put_lines(shard, lines)
        write_atomic(self._retried(shard), "{}")

    def _put_lines(self, shard: int, lines: Iterable[Row]) -> bytes:
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode()
        write_atomic(self._file(shard), text)
        return text

    def judgements(self) -> Iterator[Row]:
        """The lines of all shards, in order, one at a time. Raises `UserError` for lines that no run wrote."""
        for shard in count():
            if self.done(shard) is None:
                return
            yield from self._lines(shard)

    def kept_lines(self) -> Iterator[Row]:
        """The lines of every shard that is done, or was and is to be done again."""
        again = {int(path.stem) for path in (self.out / SHARDS).glob("*.retry") if path.stem.isdecimal()}
        for shard in sorted(again.union(shard for shard, _ in self._all_done())):
            yield from self._lines(shard)

    def _lines(self, shard: int) -> Iterator[Row]:
        for line in read_lines(self._file(shard)):
            if not (line.keys() >= _LINE and isinstance(line["row"], dict)):
                fix = f"Remove {self._file(shard)} and run the command again: paid replies are in the cache"
                fact = f"{self._file(shard)} has a line that is not a judgement"
                raise UserError(fact, "No run wrote this line", fix)
            yield line

    def check_kept(self) -> None:
        """Raise `UserError` for columns to keep that cannot be (see `scores.check_kept`)."""
        check_kept(self.source, self.columns, self.keep, self.limit, self.prompts_from)

    def lines(self) -> Iterator[Row]:
        """The lines of all shards, each with the columns kept: of the source, where an earlier run kept others."""
        wanted = set(self.keep)
        if all(wanted <= line["row"].keys() for line in self.judgements()):
            yield from self.judgements()
            return
        rows = iter_rows(self.source, count=self.limit, prompts_from=self.prompts_from)
        for line, row in zip(self.judgements(), rows):
            yield {**line, "row": self._kept_cells(row)}

    def finish(self, by: Sequence[tuple[str, ...]] = ()) -> Row:
        """Write summary.json and scores.csv from the shards; returns the summary.

        Args:
            by: columns kept, for whose values (together, where there are several) the summary has means, too.
        """
        markers: list[Row] = []
        while (marker := self.done(len(markers))) is not None:
            markers.append({**marker, **tally_of_lines(self._lines(len(markers)))})
        summary = {"judge": str(JudgeName.parse(self.judge)), **summed(markers)}
        if by:
            summary["by"] = {",".join(names): grouped(self.lines(), names) for names in by}
        write_scores(self.out / SCORES, self.lines(), self.keep)
        write_atomic(self.out / SUMMARY, json.dumps(summary, indent=2) + "\n")
        return summary

    def _file(self, shard: int) -> Path:
        return self.out / SHARDS / f"{shard:06d}.jsonl"

    def _marker(self, shard: int) -> Path:
        return self.out / SHARDS / f"{shard:06d}.json"

    def _retried(self, shard: int) -> Path:
        """The former marker of a shard whose lines are kept where they still count."""
        return self.out / SHARDS / f"{shard:06d}.retry"


def _beside(line: Row) -> Row:
    """What stands in a line beside its judgement."""
    return {name: line[name] for name in (IMAGES, "row") if name in line}
