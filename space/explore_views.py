"""What the Explore tab shows for a choice of items, judge and aspect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

from markupsafe import Markup

from benchmark import BenchItem, Benchmark
from benchmark_tables import PEOPLE, judge_table, leaderboard, score_of
from plots import Axis, Point, estimate_text, intervals, scatter
from t2i_judge.records import PERSONALISED_ASPECTS, SCORE_RANGE, Status
from t2i_judge.wording import counted
from views import aspect_name, bar, captioned, join, notice, number, picture, question_list

ALL = "all"
_PERSONALISED_RANGE = (0.0, 4.0)


@dataclass(frozen=True)
class View:
    """What the visitor looks at: filters, judge and aspect.

    Attributes:
        generators: those that are shown; none: all.
        disagreement: places of 100 that judge and people are apart, at least.
    """

    split: str
    generators: tuple[str, ...]
    judge: str
    aspect: str
    disagreement: float

    def items(self, benchmark: Benchmark) -> list[BenchItem]:
        """The items that pass the filters."""
        chosen = [
            item
            for item in benchmark.items
            if self.split in (ALL, item.split) and (not self.generators or item.generator in self.generators)
        ]
        if not self.disagreement:
            return chosen
        apart = benchmark.disagreements(self.judge, self.aspect)
        return [item for item in chosen if item.key in apart and abs(apart[item.key]) >= self.disagreement]


def human_range(aspect: str) -> tuple[float, float]:
    """The scale on which people scored an aspect."""
    return _PERSONALISED_RANGE if aspect in PERSONALISED_ASPECTS else SCORE_RANGE


def axis_of(title: str, aspect: str, scores: Sequence[float]) -> Axis:
    """The people's scale, else 0-10, when the scores reach beyond its lowest tenth; else tenths around them."""
    for low, high in (human_range(aspect), SCORE_RANGE):
        if not scores or (low <= min(scores) and low + (high - low) / 10 < max(scores) <= high):
            return Axis(title, low, high)
    low = floor(10 * min(scores)) / 10
    return Axis(title, low, max(ceil(10 * max(scores)) / 10, low + 0.1))


def heading(benchmark: Benchmark) -> Markup:
    """What the benchmark holds, in a line."""
    annotators = {each["annotator"] for item in benchmark.items for each in item.human_scores}
    text = '<p class="tj-banner"><b>{}</b> {} by {}, {}, {}.</p>'
    held = (benchmark.items, "picture"), (benchmark.generators, "generator"), (annotators, "annotator")
    counts = [counted(len(those), one) for those, one in (*held, (benchmark.judges, "judge"))]
    return Markup(text).format(benchmark.name.rstrip("/").rsplit("/", 1)[-1], *counts)


def item_choices(benchmark: Benchmark, items: Sequence[BenchItem], view: View) -> list[tuple[str, str]]:
    """Label and key of every item, the largest disagreement first, items without one last."""
    apart = benchmark.disagreements(view.judge, view.aspect)

    def label(item: BenchItem) -> str:
        places = f"{apart[item.key]:+.0f}" if item.key in apart else "–"
        return f"{places} · {item.generator} · {item.prompt[:60]}"

    ordered = sorted(items, key=lambda item: abs(apart[item.key]) if item.key in apart else -1.0, reverse=True)
    return [(label(item), item.key) for item in ordered]


def scatter_view(items: Sequence[BenchItem], view: View, picked: str | None) -> Markup:
    """The judge against the annotators' mean, one point per item."""
    points = [
        Point(mean, score, item.key, f"{item.generator}: {item.prompt}")
        for item in items
        if (score := item.judge_score(view.judge, view.aspect)) is not None
        and (mean := item.human_mean(view.aspect)) is not None
    ]
    x_axis = Axis("people, mean", *human_range(view.aspect))
    y_axis = axis_of(view.judge, view.aspect, [point.y for point in points])
    without = len(items) - len(points)
    text = f"{counted(len(points), 'picture')}; click one to look at it."
    text += f" {without} without both scores." if without else ""
    figure = '<figure class="tj-figure">{}<figcaption>{}</figcaption></figure>'
    return Markup(figure).format(scatter(points, x_axis, y_axis, picked), text)


def judge_view(items: Sequence[BenchItem], judges: Sequence[str], aspect: str) -> Markup:
    """Every judge against the annotators' mean, with intervals and failures."""
    row = Markup(
        '<tr><th scope="row">{}</th><td class="tj-digits">{}</td><td class="tj-digits">{}</td>'
        "<td>{}</td><td>{}</td></tr>"
    )
    rows = join(
        row.format(r.judge, estimate_text(r.spearman, 2), estimate_text(r.kendall_tau_b, 2), r.n, r.n_failed)
        for r in judge_table(items, judges, aspect)
    )
    return Markup(
        '<div class="tj-table"><table><caption>Agreement with people: {}, 95% intervals clustered by prompt</caption>'
        '<thead><tr><th scope="col">Judge</th><th scope="col">Spearman ρ</th><th scope="col">Kendall τ-b</th>'
        '<th scope="col">n</th><th scope="col">failed</th></tr></thead><tbody>{}</tbody></table></div>'
    ).format(aspect_name(aspect).lower(), rows)


def leaderboard_view(items: Sequence[BenchItem], view: View) -> Markup:
    """Generators by people and by the judge."""
    parts = []
    for scorer, title in ((PEOPLE, "Generators by people"), (view.judge, f"Generators by {view.judge}")):
        scores = [score for item in items if (score := score_of(item, scorer, view.aspect)) is not None]
        axis = axis_of(f"{title}, mean with 95% interval", view.aspect, scores)
        parts.append(intervals(leaderboard(items, scorer, view.aspect), axis))
    return join(parts)


def item_view(benchmark: Benchmark, key: str | None, view: View) -> Markup:
    """One item: picture, prompt, every annotator with the explanation, every judge, the questions."""
    item = benchmark.by_key.get(key or "")
    if item is None:
        return notice("No item passes these filters.")
    image = benchmark.picture(item)
    reference = benchmark.picture(item, "reference_image") if item.has_reference else None
    pictures = [picture(image, item.prompt)] if image is not None else []
    if reference is not None and image is not None:
        pictures = [captioned(reference, "Reference"), captioned(image, "Picture")]
    return Markup(
        '<article class="tj-result"><div class="tj-pictures">{}</div>'
        '<p class="tj-prompt"><small>{} · {}</small>{}</p>{}{}{}{}</article>'
    ).format(
        join(pictures),
        item.generator,
        item.id,
        item.prompt,
        _apart(benchmark.disagreements(view.judge, view.aspect).get(item.key), view),
        _people(item, view),
        _judges(item, view),
        _questions(benchmark, item),
    )


def _apart(places: float | None, view: View) -> Markup:
    """In words, how the judge's rank of the item differs from people's."""
    if places is None:
        return Markup("")
    apart, way = counted(abs(places), "place", form=".0f"), "higher" if places > 0 else "lower"
    words = f"{apart} of 100 {way} than" if round(places) else "where"
    return Markup("<p>{} ranks it {} people do.</p>").format(view.judge, words)


def _people(item: BenchItem, view: View) -> Markup:
    low, high = human_range(view.aspect)
    rows = join(
        Markup('<tr><th scope="row">{}</th><td>{}</td><td class="tj-digits">{}</td><td>{}</td></tr>').format(
            each["annotator"], bar(each["score"], (low, high)), number(each["score"]), each.get("explanation") or ""
        )
        for each in item.people(view.aspect)
    )
    return _table(f"People: {aspect_name(view.aspect).lower()}, mean {number(item.human_mean(view.aspect))}", rows)


def _judges(item: BenchItem, view: View) -> Markup:
    row = Markup('<tr><th scope="row">{}</th><td class="tj-digits">{}</td><td>{}</td></tr>')
    rows = join(
        row.format(each["judge"], number(each["score"]), "" if each["status"] == Status.OK else each["status"])
        for each in item.baselines
        if each["aspect"] == view.aspect or each is item.baseline(each["judge"], view.aspect)
    )
    return _table("Judges", rows)


def _questions(benchmark: Benchmark, item: BenchItem) -> Markup:
    """What the release's judge answered, where that is kept; else the questions alone."""
    if (kept := benchmark.judgement(item)) is not None:
        head = Markup('<p class="tj-label">{} answered, when this release was made</p>').format(kept.judge.name)
        return head + question_list(kept)
    rows = join(
        Markup('<tr><th scope="row">{}</th><td>{}</td></tr>').format(question.text, question.expected or "")
        for question in item.questions
    )
    return _table("Questions and expected answers", rows)


def _table(caption: str, rows: Markup) -> Markup:
    if not rows:
        return Markup("")
    return Markup('<div class="tj-table"><table><caption>{}</caption><tbody>{}</tbody></table></div>').format(
        caption, rows
    )
