"""The Explore tab: the benchmark with filters, judge against people, generators against each other, and every item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from markupsafe import Markup

from benchmark import Benchmark
from benchmark_tables import PEOPLE, leaderboard
from components import PRIVATE, html
from explore_views import (
    ALL,
    View,
    heading,
    item_choices,
    item_view,
    judge_view,
    leaderboard_view,
    scatter_view,
)
from figures import Figures
from guard import caller_of
from limits import told
from links import ITEM, read, write
from plots import Estimate
from t2i_judge.errors import UserError, nearest, quoted
from t2i_judge.records import ALL_ASPECTS
from views import aspect_name, notice
from visitors import NOBODY

_STEP = 5  # of the slider, in places of 100
_PICK = """
element.tabIndex = 0;
element.setAttribute('role', 'group');
element.setAttribute('aria-label', 'Points from left to right: arrow keys look at the one before or after');
element.addEventListener('keydown', (event) => {
  const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  const dots = [...element.querySelectorAll('[data-pick]')];
  if (!step || !dots.length) return;
  event.preventDefault();
  dots.sort((a, b) => a.getAttribute('cx') - b.getAttribute('cx'));
  const at = dots.findIndex((dot) => dot.classList.contains('tj-picked'));
  trigger('pick', {key: dots[(at + step + dots.length) % dots.length].dataset.pick});
});
element.addEventListener('click', (event) => {
  const dot = event.target.closest('[data-pick]');
  if (!dot) return;
  trigger('pick', {key: dot.dataset.pick});
  if (window.innerWidth < 700) document.querySelector('#item').scrollIntoView({behavior: 'smooth'});
});
"""


@dataclass(frozen=True)
class Look:
    """All that the tab shows of a view. The tables leave no item out by disagreement, which they measure."""

    scatter: Markup
    agreement: Markup
    ranking: Markup
    choices: Sequence[tuple[str, str]]
    first: str | None
    detail: Markup

    def values(self) -> list[Any]:
        """For the tab's components, which may change what they get."""
        chosen = gr.update(choices=list(self.choices), value=self.first)
        return [self.scatter, self.agreement, self.ranking, chosen, self.detail]


@dataclass(frozen=True)
class Parts:
    """The tab's components."""

    controls: list[Any]
    plot: gr.HTML
    table: gr.HTML
    ranking: gr.HTML
    chosen: gr.Dropdown
    following: gr.Button
    detail: gr.HTML


def build_explore_tab(benchmark: Benchmark | None, tab: gr.Tab, judge: str = "", reason: str = "") -> None:
    """Lay out `tab`, `judge` first; without a benchmark it says why there is none."""
    if benchmark is None or not benchmark.items:
        html(notice(reason or "The benchmark has no items.", "bad"))
        tab.select(**write("explore"))
        return
    html(heading(benchmark))
    controls = _filters(benchmark, judge)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            plot = html(elem_id="scatter", js_on_load=_PICK)
            table, ranking = html(elem_id="judges"), html(elem_id="leaderboard")
        with gr.Column(scale=4, min_width=300):
            with gr.Row():
                chosen = gr.Dropdown(
                    [], label="Item, largest disagreement first", elem_id="item", scale=4, allow_custom_value=True
                )  # the choices of a view are not those the page began with
                following = gr.Button("Next", size="sm", scale=1, min_width=70, elem_id="next-item")
            detail = html(elem_id="detail")
    tab.select(inputs=chosen, **write("explore", ITEM))
    chosen.change(inputs=chosen, **write("explore", ITEM))
    _wire(benchmark, Parts(controls, plot, table, ranking, chosen, following, detail))
    gr.api(_api(benchmark), api_name="leaderboard")


def _wire(benchmark: Benchmark, parts: Parts) -> None:
    """A filter changes everything; a point, the list or the button changes the item."""

    agreements: Figures[View, Markup] = Figures(lambda view: _agreement(benchmark, view))

    def seen(view: View) -> Look:
        return _look(benchmark, view, agreements.now(replace(view, judge="", disagreement=0.0)))

    looks: Figures[View, Look] = Figures(seen)

    async def look(request: gr.Request, *values: Any) -> list[Any]:
        return (await told(looks.of(view_of(benchmark, values), caller_of(request)))).values()

    def show(key: str | None, *values: Any) -> list[Any]:
        view, key = view_of(benchmark, values), key if key in benchmark.by_key else None
        return [scatter_view(view.items(benchmark), view, key), item_view(benchmark, key, view)]

    def pick(event: gr.EventData, *values: Any) -> list[Any]:
        key = str(event.key)
        return [gr.update(value=key), *show(key, *values)]

    def step(key: str | None, *values: Any) -> list[Any]:
        view = view_of(benchmark, values)
        keys = [each for _, each in item_choices(benchmark, view.items(benchmark), view)]
        new = keys[(keys.index(key) + 1) % len(keys)] if key in keys else next(iter(keys), None)
        return [gr.update(value=new), *show(new, *values)]

    def opened(key: str, *values: Any) -> list[Any]:
        return [gr.update(value=key), *show(key, *values)] if key in benchmark.by_key else [gr.skip()] * 3

    controls, item = parts.controls, [parts.chosen, parts.plot, parts.detail]
    everything = [parts.plot, parts.table, parts.ranking, parts.chosen, parts.detail]
    for control in controls:
        control.input(look, controls, everything, trigger_mode="always_last", **PRIVATE)
    parts.plot.pick(pick, controls, item, **PRIVATE)
    parts.chosen.input(show, [parts.chosen, *controls], [parts.plot, parts.detail], **PRIVATE)
    parts.following.click(step, [parts.chosen, *controls], item, **PRIVATE)
    begins = looks.now(view_of(benchmark, [control.value for control in controls]))
    _start(begins.values(), everything)
    read(ITEM, opened, controls, item)


def _agreement(benchmark: Benchmark, view: View) -> Markup:
    """Bootstrapping is the one slow thing here: seconds for a thousand items."""
    return judge_view(view.items(benchmark), benchmark.judges, view.aspect)


def _look(benchmark: Benchmark, view: View, agreement: Markup) -> Look:
    items = view.items(benchmark)
    choices = item_choices(benchmark, items, view)
    first = choices[0][1] if choices else None
    return Look(
        scatter_view(items, view, first),
        agreement,
        leaderboard_view(replace(view, disagreement=0.0).items(benchmark), view),
        choices,
        first,
        item_view(benchmark, first, view),
    )


def _start(values: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Fill the tab with the values that the controls begin with, once, when the app is built."""
    for output, value in zip(outputs, values):
        if isinstance(value, dict):
            output.choices, output.value = [tuple(choice) for choice in value["choices"]], value["value"]
        else:
            output.value = value


def _api(benchmark: Benchmark) -> Any:
    boards: Figures[tuple[str, str], list[Estimate]] = Figures(lambda names: leaderboard(benchmark.items, *names))
    scorers = PEOPLE, *benchmark.judges

    async def generator_leaderboard(
        aspect: str = "overall", scorer: str = PEOPLE, request: gr.Request | None = None
    ) -> list[dict]:
        """Mean score of each generator, best first, with a 95% interval clustered by prompt."""
        for name, known in ((scorer, scorers), (aspect, ALL_ASPECTS)):
            if name not in known:
                error = UserError(f"Nothing is scored by {quoted(name)}", nearest(name, known), "Use one of these")
                raise gr.Error(str(error), print_exception=False)
        rows = await told(boards.of((scorer, aspect), caller_of(request) if request else NOBODY))
        return [{"generator": r.label, "mean": r.value, "low": r.low, "high": r.high, "note": r.note} for r in rows]

    return generator_leaderboard


def _filters(benchmark: Benchmark, first: str) -> list[Any]:
    aspects = [(aspect_name(aspect), aspect) for aspect in benchmark.aspects]
    judges = benchmark.judges or [""]
    with gr.Row(elem_classes="tj-filters"):
        shown = first if first in judges else judges[0]
        judge = gr.Dropdown(judges, value=shown, label="Judge", elem_id="explore-judge", min_width=140)
        aspect = gr.Dropdown(aspects, value=aspects[0][1], label="Aspect", elem_id="explore-aspect", min_width=140)
        split = gr.Dropdown([ALL, *benchmark.splits], value=ALL, label="Split", min_width=120)
        generators = gr.Dropdown(
            benchmark.generators, value=[], multiselect=True, label="Generators (all)", min_width=180
        )
        disagreement = gr.Slider(
            *(0, 100, 0),
            step=_STEP,
            label="Disagreement of at least",
            info="difference of the ranks by judge and by people, in places of 100; it filters items, not the tables",
            elem_id="disagreement",
            min_width=200,
            scale=2,
        )
    return [split, generators, judge, aspect, disagreement]


def view_of(benchmark: Benchmark, values: Sequence[Any]) -> View:
    """The view that the controls' values mean: the same for whatever means the same."""
    split, generators, judge, aspect, disagreement = values
    chosen = sorted({*benchmark.generators} & {*(generators or ())})
    places = _STEP * round(max(0.0, min(float(disagreement or 0), 100.0)) / _STEP)
    return View(split, tuple(chosen) if chosen != benchmark.generators else (), judge, aspect, float(places))
