"""The Explore tab: the benchmark with filters, judge against people, generators against each other, and every item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import gradio as gr
from markupsafe import Markup

from benchmark import Benchmark, Item
from benchmark_tables import PEOPLE, judge_table, leaderboard, score_of
from components import PRIVATE, html
from plots import Axis, Point, estimate_text, intervals, scatter
from t2i_judge.records import PERSONALISED_ASPECTS, SCORE_RANGE, Status
from views import aspect_name, bar, join, notice, number, picture

ALL = "all"
_PERSONALISED_RANGE = (0.0, 4.0)
_PICK = """
element.addEventListener('click', (event) => {
  const dot = event.target.closest('[data-pick]');
  if (!dot) return;
  trigger('pick', {key: dot.dataset.pick});
  if (window.innerWidth < 700) document.querySelector('#item').scrollIntoView({behavior: 'smooth'});
});
"""


@dataclass(frozen=True)
class View:
    """What the visitor looks at: filters, judge and aspect."""

    split: str
    generators: tuple[str, ...]
    judge: str
    aspect: str
    disagreement: float

    def items(self, benchmark: Benchmark) -> list[Item]:
        """The items that pass the filters."""
        return [item for item in benchmark.items if self._passes(item)]

    def _passes(self, item: Item) -> bool:
        if self.split not in (ALL, item.split) or (self.generators and item.generator not in self.generators):
            return False
        if not self.disagreement:
            return True
        difference = item.disagreement(self.judge, self.aspect)
        return difference is not None and abs(difference) >= self.disagreement


def human_range(aspect: str) -> tuple[float, float]:
    """The scale on which people scored an aspect."""
    return _PERSONALISED_RANGE if aspect in PERSONALISED_ASPECTS else SCORE_RANGE


def axis_of(title: str, aspect: str, scores: Sequence[float]) -> Axis:
    """The people's scale when all scores fit it, else whole numbers around the scores (cosines, other scales)."""
    low, high = human_range(aspect)
    if all(low <= score <= high for score in scores) and (not scores or max(scores) > low + (high - low) / 10):
        return Axis(title, low, high)
    return Axis(
        title, floor(10 * min(scores)) / 10, max(ceil(10 * max(scores)) / 10, floor(10 * min(scores)) / 10 + 0.1)
    )


def build_explore_tab(benchmark: Benchmark | None, reason: str = "") -> None:
    """Lay out the tab inside the current Blocks; without a benchmark it says why there is none."""
    if benchmark is None or not benchmark.items:
        html(notice(reason or "The benchmark has no items.", "bad"))
        return
    html(_heading(benchmark))
    controls = _filters(benchmark)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            plot = html(elem_id="scatter", js_on_load=_PICK)
            table = html(elem_id="judges")
            ranking = html(elem_id="leaderboard")
        with gr.Column(scale=4, min_width=300):
            with gr.Row():
                chosen = gr.Dropdown(
                    [], label="Item, largest disagreement first", elem_id="item", scale=4, filterable=True
                )
                following = gr.Button("Next", size="sm", scale=1, min_width=70, elem_id="next-item")
            detail = html(elem_id="detail")

    def look(*values: Any) -> list[Any]:
        view = _view(values)
        items = view.items(benchmark)
        choices = item_choices(items, view)
        first = choices[0][1] if choices else None
        return [
            _scatter(items, view, first),
            judge_view(items, benchmark.judges, view.aspect),
            leaderboard_view(items, view),
            gr.update(choices=choices, value=first),
            item_view(benchmark, first, view),
        ]

    def show(key: str | None, *values: Any) -> list[Any]:
        view = _view(values)
        return [_scatter(view.items(benchmark), view, key), item_view(benchmark, key, view)]

    def pick(event: gr.EventData, *values: Any) -> list[Any]:
        key = str(event.key)
        return [gr.update(value=key), *show(key, *values)]

    def step(key: str | None, *values: Any) -> list[Any]:
        view = _view(values)
        keys = [each for _, each in item_choices(view.items(benchmark), view)]
        new = keys[(keys.index(key) + 1) % len(keys)] if key in keys else next(iter(keys), None)
        return [gr.update(value=new), *show(new, *values)]

    everything = [plot, table, ranking, chosen, detail]
    for control in controls:
        control.input(look, controls, everything, trigger_mode="always_last", **PRIVATE)
    plot.pick(pick, controls, [chosen, plot, detail], **PRIVATE)
    chosen.input(show, [chosen, *controls], [plot, detail], **PRIVATE)
    following.click(step, [chosen, *controls], [chosen, plot, detail], **PRIVATE)
    _start(look, controls, everything)
    gr.api(_api(benchmark), api_name="leaderboard")


def _start(look: Any, controls: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Fill the tab with the values that the controls begin with, once, when the app is built."""
    for output, value in zip(outputs, look(*(control.value for control in controls))):
        if isinstance(value, dict):
            output.choices, output.value = [tuple(choice) for choice in value["choices"]], value["value"]
        else:
            output.value = value


def _api(benchmark: Benchmark) -> Any:
    def generator_leaderboard(aspect: str = "overall", scorer: str = PEOPLE) -> list[dict]:
        """Mean score of each generator, best first, with a 95% interval clustered by prompt."""
        rows = leaderboard(benchmark.items, scorer, aspect)
        return [{"generator": r.label, "mean": r.value, "low": r.low, "high": r.high, "note": r.note} for r in rows]

    return generator_leaderboard


def _heading(benchmark: Benchmark) -> Markup:
    annotators = {each["annotator"] for item in benchmark.items for each in item.human_scores}
    text = '<p class="tj-banner"><b>{}</b> {} pictures by {} generators, {} annotators, {} judges.</p>'
    counts = (len(benchmark.items), len(benchmark.generators), len(annotators), len(benchmark.judges))
    return Markup(text).format(benchmark.name.rstrip("/").rsplit("/", 1)[-1], *counts)


def _filters(benchmark: Benchmark) -> list[Any]:
    aspects = [(aspect_name(aspect), aspect) for aspect in benchmark.aspects]
    judges = benchmark.judges or [""]
    with gr.Row(elem_classes="tj-filters"):
        judge = gr.Dropdown(judges, value=judges[0], label="Judge", elem_id="explore-judge", min_width=140)
        aspect = gr.Dropdown(aspects, value=aspects[0][1], label="Aspect", elem_id="explore-aspect", min_width=140)
        split = gr.Dropdown([ALL, *benchmark.splits], value=ALL, label="Split", min_width=120)
        generators = gr.Dropdown(
            benchmark.generators, value=[], multiselect=True, label="Generators (all)", min_width=180
        )
        widest = max(1.0, human_range(aspects[0][1])[1])
        disagreement = gr.Slider(
            0, widest, 0, step=0.5, label="Disagreement of at least", elem_id="disagreement", min_width=160
        )
    return [split, generators, judge, aspect, disagreement]


def _view(values: Sequence[Any]) -> View:
    split, generators, judge, aspect, disagreement = values
    return View(split, tuple(generators or ()), judge, aspect, float(disagreement or 0))


def item_choices(items: Sequence[Item], view: View) -> list[tuple[str, str]]:
    """Label and key of every item, the largest disagreement first, items without one last."""

    def size(item: Item) -> float:
        difference = item.disagreement(view.judge, view.aspect)
        return -1.0 if difference is None else abs(difference)

    def label(item: Item) -> str:
        difference = item.disagreement(view.judge, view.aspect)
        return f"{'–' if difference is None else format(difference, '+.1f')} · {item.generator} · {item.prompt[:60]}"

    return [(label(item), item.key) for item in sorted(items, key=size, reverse=True)]


def _scatter(items: Sequence[Item], view: View, picked: str | None) -> Markup:
    points = [
        Point(mean, score, item.key, f"{item.generator}: {item.prompt}")
        for item in items
        if (score := item.judge_score(view.judge, view.aspect)) is not None
        and (mean := item.human_mean(view.aspect)) is not None
    ]
    x_axis = Axis("people, mean", *human_range(view.aspect))
    y_axis = axis_of(view.judge, view.aspect, [point.y for point in points])
    without = len(items) - len(points)
    text = f"{len(points)} pictures; click one to look at it." + (f" {without} without both scores." if without else "")
    figure = '<figure class="tj-figure">{}<figcaption>{}</figcaption></figure>'
    return Markup(figure).format(scatter(points, x_axis, y_axis, picked), text)


def judge_view(items: Sequence[Item], judges: Sequence[str], aspect: str) -> Markup:
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


def leaderboard_view(items: Sequence[Item], view: View) -> Markup:
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
    pictures = [
        picture(each, alt) for each, alt in ((reference, "reference"), (image, item.prompt)) if each is not None
    ]
    return Markup(
        '<article class="tj-result"><div class="tj-pictures">{}</div>'
        '<p class="tj-prompt"><small>{} · {}</small>{}</p>{}{}{}</article>'
    ).format(
        join(pictures), item.generator, item.id, item.prompt, _people(item, view), _judges(item, view), _questions(item)
    )


def _people(item: Item, view: View) -> Markup:
    low, high = human_range(view.aspect)
    rows = join(
        Markup('<tr><th scope="row">{}</th><td>{}</td><td class="tj-digits">{}</td><td>{}</td></tr>').format(
            each["annotator"], bar(each["score"], (low, high)), number(each["score"]), each.get("explanation") or ""
        )
        for each in item.people(view.aspect)
    )
    return _table(f"People: {aspect_name(view.aspect).lower()}, mean {number(item.human_mean(view.aspect))}", rows)


def _judges(item: Item, view: View) -> Markup:
    row = Markup('<tr><th scope="row">{}</th><td class="tj-digits">{}</td><td>{}</td></tr>')
    rows = join(
        row.format(each["judge"], number(each["score"]), "" if each["status"] == Status.OK else each["status"])
        for each in item.baselines
        if each["aspect"] == view.aspect
    )
    return _table("Judges", rows)


def _questions(item: Item) -> Markup:
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
