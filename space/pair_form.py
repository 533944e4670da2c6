"""Pairs in the Annotate tab: two pictures, four votes and an undo, each of them one key."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr
from markupsafe import Markup

from annotation_store import AnnotationStore, RatedBefore
from annotations import A_BETTER, B_BETTER, BOTH_BAD, BOTH_GOOD
from benchmark import Benchmark
from components import PRIVATE, html
from guard import caller_of
from limits import RECORDS
from pair_votes import Pair, PairDesk, agreement_on_pairs
from t2i_judge.errors import UserError
from t2i_judge.wording import counted
from views import captioned, join, notice
from visitors import Visitor

PAIRS = "pairs"  # beside the scales of single pictures
_LEFT, _RIGHT = "left", "right"
_BUTTONS = (
    (_LEFT, "Left is better (1)"),
    (_RIGHT, "Right is better (2)"),
    (BOTH_GOOD, "Both good (3)"),
    (BOTH_BAD, "Both bad (4)"),
    ("undo", "Undo (U)"),
)
# Keys do what the page's own controls do. Installed once, by the button that opens the desk; while somebody writes, or
# holds a key down, it does nothing.
KEYS = """(...values) => {
  if (!window.tjKeys) {
    window.tjKeys = true;
    const of = {
      1: 'left', ArrowLeft: 'left', 2: 'right', ArrowRight: 'right', 3: 'both_good', 4: 'both_bad',
      u: 'undo', U: 'undo',
    };
    document.addEventListener('keydown', event => {
      const name = of[event.key], at = event.target;
      const writes = at.closest('textarea, select, input:not([type=radio]):not([type=checkbox])');
      const arrows = event.key.startsWith('Arrow') && at.closest('[role=radiogroup], [role=tablist], input');
      if (!name || writes || arrows || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      const button = document.querySelector(`#pair-${name}`);
      if (button && button.checkVisibility() && !button.disabled) { event.preventDefault(); button.click(); }
    });
    // Single pictures: a digit (X is ten) scores the first aspect that has no score, then the reason is to be written;
    // Ctrl+Enter saves.
    document.addEventListener('keydown', event => {
      const save = document.querySelector('#save');
      if (!save || !save.checkVisibility() || event.repeat || event.metaKey || event.altKey) return;
      if (event.ctrlKey) { if (event.key === 'Enter') { event.preventDefault(); save.click(); } return; }
      const digit = /^[xX]$/.test(event.key) ? '10' : event.key;
      if (!/^\\d+$/.test(digit) || event.target.closest('textarea, select, input:not([type=radio])')) return;
      const open = () => [...document.querySelectorAll('[id^=score-]')].filter(one => !one.querySelector(':checked'));
      const level = [...(open()[0]?.querySelectorAll('label') || [])].find(one => one.innerText.trim() === digit);
      if (!level) return;
      event.preventDefault();
      level.querySelector('input').click();
      if (open().length === 0) document.querySelector('[id^=why-] textarea, [id^=why-] input').focus();
    });
  }
  return values;
}"""


def pair_form(
    annotator: str,
    mark: str,
    benchmark: Benchmark,
    desk: PairDesk,
    go_on: Callable[[], Any],
    state: gr.State,
    message: gr.HTML,
    figures: gr.HTML,
    agreement: Callable[[], Markup],
) -> None:
    """The pair that lies open, or the thanks at the end.

    `mark` is the visitor's who opened the desk, `go_on` makes its next state, `agreement` what stands in `figures`.
    """
    pair = desk.next(annotator, mark)
    if pair is None:
        html(notice("There are no pairs left for you to compare. Thank you!", "good"))
    else:
        html(shown(benchmark, pair, annotator), elem_classes="tj-rated")
    with gr.Row(elem_classes="tj-votes"):
        buttons = {
            name: gr.Button(
                text, size="sm", min_width=120, elem_id=f"pair-{name}", visible=pair is not None or name == "undo"
            )
            for name, text in _BUTTONS
        }

    def clicked(act: Callable[[Visitor], Markup]) -> Callable[[gr.Request], tuple[Any, Markup, Markup]]:
        def answer(request: gr.Request) -> tuple[Any, Markup, Markup]:
            try:
                RECORDS.take(caller := caller_of(request))
                told = act(caller)
            except UserError as error:
                return gr.skip(), notice(str(error), "bad"), gr.skip()
            return go_on(), told, agreement()

        return answer  # no `partial`: Gradio would not see that it takes a request

    acts = {name: partial(_vote, annotator, desk, pair, name) for name in buttons if pair is not None}
    acts["undo"] = partial(_undo, annotator, desk)
    for name, act in acts.items():
        buttons[name].click(clicked(act), None, [state, message, figures], trigger_mode="once", **PRIVATE)


def _vote(annotator: str, desk: PairDesk, pair: Pair, name: str, caller: Visitor) -> Markup:
    """Keep the vote of a button, and say how far the annotator is. Raises `UserError` if it cannot be kept."""
    swapped = pair.swapped(annotator)
    vote = {_LEFT: B_BETTER if swapped else A_BETTER, _RIGHT: A_BETTER if swapped else B_BETTER}.get(name, name)
    first, by = B_BETTER if swapped else A_BETTER, desk.store.marks.of(caller)
    try:
        desk.store.vote((pair.a.id, pair.b.id), pair.key, annotator, vote, first, by)
    except RatedBefore as error:
        return notice(str(error))
    return notice(progress(desk, annotator), "good")


def _undo(annotator: str, desk: PairDesk, caller: Visitor) -> Markup:
    """Take the annotator's last vote back, and say so. Raises `UserError` if it cannot be taken."""
    back = desk.undo(annotator, desk.store.marks.of(caller))
    told = "Vote removed. " if back else "There is no vote to remove. "
    return notice(told + progress(desk, annotator))


def shown(benchmark: Benchmark, pair: Pair, annotator: str) -> Markup:
    """Prompt and both pictures, in this annotator's order; who made them is not said."""
    items = (pair.b, pair.a) if pair.swapped(annotator) else (pair.a, pair.b)
    parts = []
    for item, title in zip(items, ("Left", "Right"), strict=True):
        image = benchmark.picture(item)
        parts.append(
            notice(f"{title}: this picture cannot be shown") if image is None else captioned(image, title, 512)
        )
    prompt = Markup('<p class="tj-prompt"><small>Prompt</small>{}</p>').format(pair.a.prompt)
    return Markup('{}<div class="tj-pictures tj-pair" data-pair="{}">{}</div>').format(prompt, pair.key, join(parts))


def progress(desk: PairDesk, annotator: str) -> str:
    """How far somebody is, and how they did on the pairs that are known."""
    done, total = desk.progress(annotator)
    right, known = desk.gold(annotator)
    gold = f" You agree with others on {right} of {counted(known, 'pair')} that they decided clearly." if known else ""
    return f"Stored: {done} of {total}.{gold}"


def pairs_view(store: AnnotationStore) -> Markup:
    """Agreement of everybody on pairs so far."""
    votes = store.votes()
    alpha = agreement_on_pairs(votes)
    value = "–" if alpha.value is None else f"{alpha.value:.2f}"
    people = counted(len({vote.annotator_id for vote in votes}), "annotator")
    return Markup(
        '<div class="tj-table"><table><caption>Agreement on pairs so far, Krippendorff’s α (nominal): {}, '
        '{}</caption><tbody><tr><th scope="row">Which is better</th><td class="tj-digits" data-alpha="pairs">{}'
        "</td><td>{}</td></tr></tbody></table></div>"
    ).format(people, counted(len(votes), "vote"), value, alpha.undefined or counted(alpha.n, "pair"))
