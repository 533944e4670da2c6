"""The Annotate tab: enter a name, rate pictures one by one, see the agreement, and download the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import gradio as gr
from markupsafe import Markup

from annotation_formats import FORMATS, votes_to_csv
from annotation_store import AnnotationStore, RatedBefore
from annotations import VisitorRating
from assignments import Assignments, agreement, aspects_of, scale_of
from benchmark import BenchItem, Benchmark
from components import PRIVATE, html
from figures import Figures
from guard import caller_of
from guidelines import ANCHORS, GUIDELINES
from limits import EXPORTS, MAX_PROMPT, NAMES, RECORDS
from pair_form import KEYS, PAIRS, pair_form, pairs_view
from pair_votes import PairDesk, pairs_of
from publishing import Publisher
from t2i_judge.errors import UserError
from t2i_judge.wording import counted
from views import aspect_name, captioned, download, join, notice
from visitors import NOBODY

_TURNS = count()
_ANSWERS = (("no", 0.0), ("partly", 5.0), ("yes", 10.0))
_LOOK_AGAIN = 5.0  # seconds between two looks at what is published
_FILES_NAMED = 3
_SCALES = {
    "general": "How good is it? 0–10",
    "personalised": "DreamBench++: same thing, same wish? 0–4",
    PAIRS: "Which of two is better?",
}


@dataclass(frozen=True)
class Desk:
    """An annotator at work, by the id of the registration: the item that lies open, None when nothing is left.

    `mark` is the visitor's. `turn` is another one whenever the desk is opened, so that the page shows it anew although
    the session may hold the same item already: an answer that was lost had told the page of it.
    """

    annotator: str
    mark: str
    scale: str
    item: str | None
    turn: int = 0


@dataclass(frozen=True)
class Form:
    """The components of one open form, in the order in which their values arrive."""

    questions: Sequence[str]
    aspects: Sequence[str]

    def ratings(self, item: BenchItem, values: Sequence[Any]) -> tuple[VisitorRating, ...]:
        """Read the form. Raises `UserError` that names what is missing."""
        n, m = len(self.questions), len(self.aspects)
        answers, scores, reasons = values[:n], values[n : n + m], values[n + m :]
        for aspect, score in zip(self.aspects, scores):
            if score is None:
                raise UserError(f"{aspect_name(aspect)} has no score yet", "", "Choose one")
        if not any((reason or "").strip() for reason in reasons):
            raise UserError(
                "There is no explanation yet", "Scores without reasons cannot be checked", "Write one sentence"
            )
        aspect_of = {question.id: question.aspect for question in item.questions}
        asked = [
            VisitorRating(aspect_of[question], question, float(answer), None)
            for question, answer in zip(self.questions, answers)
            if answer is not None
        ]
        whole = [
            VisitorRating(aspect, None, float(score), (reason or "").strip()[:MAX_PROMPT] or None)
            for aspect, score, reason in zip(self.aspects, scores, reasons)
        ]
        return tuple(asked + whole)


def build_annotate_tab(
    benchmark: Benchmark | None, store: AnnotationStore, reason: str = "", publisher: Publisher | None = None
) -> None:
    """Lay out the tab inside the current Blocks. Without a benchmark it says why there is none."""
    if benchmark is None or not benchmark.items:
        html(notice(reason or "The benchmark has no items.", "bad"))
        return
    assignments = Assignments(benchmark.items, store)
    pairs = PairDesk(pairs_of(benchmark.items), store)
    scales = [*dict.fromkeys(scale_of(item) for item in benchmark.items), *([PAIRS] if pairs.pairs else [])]
    state = gr.State(None)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            enter, name, code, scale = _entrance(scales)
            message = html(elem_id="told")
            kept = html(whereabouts(store, publisher), elem_id="kept")
        with gr.Column(scale=4, min_width=280):
            figures = html(agreement_view(store), elem_id="agreement")
    with gr.Accordion("Guidelines", open=True, elem_id="guidelines") as guidelines:
        gr.Markdown(GUIDELINES)

    def come_in(who: str, secret: str, what: str, request: gr.Request) -> tuple[Desk | None, Markup, Any]:
        """Guidelines lie open until the form does."""
        try:
            caller = caller_of(request)
            admit = partial(NAMES.take, caller)
            annotator, fresh = store.enter((who or "").strip(), secret, admit)
        except UserError as error:
            return None, notice(str(error), "bad"), gr.skip()
        done, total = pairs.progress(annotator) if what == PAIRS else assignments.progress(annotator, what)
        welcome = _welcome(who.strip(), done, total, fresh)
        desk = Desk(annotator, store.marks.of(caller), what, None)
        return _open(assignments, desk), welcome, gr.update(open=False)

    enter.click(come_in, [name, code, scale], [state, message, guidelines], js=KEYS, **PRIVATE)

    @gr.render(inputs=state, show_progress="hidden")
    def form(desk: Desk | None) -> None:
        if desk is not None and desk.scale == PAIRS:
            go_on, view = partial(_open, assignments, desk), partial(agreement_view, store)
            pair_form(desk.annotator, desk.mark, benchmark, pairs, go_on, state, message, figures, view)
        elif desk is not None:
            _form(desk, benchmark, assignments, state, message, figures)

    def look(desk: Desk | None) -> Markup:
        return whereabouts(store, publisher, desk.annotator if desk else None)

    gr.Timer(_LOOK_AGAIN).tick(look, state, kept, **PRIVATE)
    message.change(look, state, kept, **PRIVATE)
    _take_home(store, figures)


def whereabouts(store: AnnotationStore, publisher: Publisher | None, annotator: str | None = None) -> Markup:
    """Where forms are (stored here, published, or waiting for the Hub): the annotator's own, then all others."""
    published, forms = store.published(annotator)
    own = f"{forms} of yours stored, {published} published. " if annotator and publisher else ""
    where = publisher.line() if publisher else f"Forms are stored in {store.shelf}."
    lines = [notice(own + where, "bad" if publisher and publisher.trouble else "info")]
    if store.unreadable:
        files = ", ".join(list(store.unreadable)[:_FILES_NAMED])
        number = counted(len(store.unreadable), "file")
        lines.append(notice(f"Left out: {number} of annotations that cannot be read: {files}."))
    return join(lines)


def _entrance(scales: Sequence[str]) -> tuple[gr.Button, gr.Textbox, gr.Textbox, gr.Radio]:
    with gr.Group():
        with gr.Row():
            name = gr.Textbox(
                label="Your name here", placeholder="letters and digits", max_length=32, elem_id="annotator"
            )
            code = gr.Textbox(label="Your code, if you have one", max_length=40, elem_id="code")
        choices = [(_SCALES[scale], scale) for scale in scales]
        scale = gr.Radio(choices, value=scales[0], label="Scale", visible=len(scales) > 1, elem_id="scale")
        enter = gr.Button("Start or continue", variant="primary", elem_id="enter")
    return enter, name, code, scale


def _open(assignments: Assignments, desk: Desk) -> Desk:
    """The desk with what comes next on it; pairs are chosen as their form is made."""
    item = None if desk.scale == PAIRS else assignments.next(desk.annotator, desk.scale, desk.mark)
    return replace(desk, item=item.key if item else None, turn=next(_TURNS))


def _welcome(name: str, done: int, total: int, fresh: str | None) -> Markup:
    code = Markup("")
    if fresh:
        code = Markup(
            '<p class="tj-notice tj-good" role="status">Keep this code to come back: <code>{}</code></p>'
        ).format(fresh)
    return code + notice(f"{name}: {done} of {total} rated.")


def _form(
    desk: Desk, benchmark: Benchmark, assignments: Assignments, state: gr.State, message: gr.HTML, figures: gr.HTML
) -> None:
    """The open item, or the thanks at the end."""
    if desk.item is None:
        html(notice("There is nothing left for you to rate. Thank you!", "good"))
        return
    item = benchmark.by_key[desk.item]
    store = assignments.store
    with gr.Row(equal_height=False, key=item.key):
        with gr.Column(scale=4, min_width=300):
            html(_shown(benchmark, item), elem_classes="tj-rated")
        with gr.Column(scale=5, min_width=300):
            questions = _question_fields(item)
            aspects, reasons = _aspect_fields(item)
            save = gr.Button("Save and continue", variant="primary", elem_id="save")

    def store_it(request: gr.Request, *values: Any) -> tuple[Any, Markup, Any]:
        shape = Form([question.id for question in item.questions] if questions else [], aspects_of(item))
        try:
            RECORDS.take(caller := caller_of(request))
            store.save(item.id, desk.annotator, shape.ratings(item, values), store.marks.of(caller))
        except RatedBefore as error:
            told = notice(str(error))
        except UserError as error:
            return gr.skip(), notice(str(error), "bad"), gr.skip()
        else:
            done, total = assignments.progress(desk.annotator, desk.scale)
            told = notice(f"Stored: {done} of {total}.", "good")
        return _open(assignments, desk), told, agreement_view(store)

    save.click(store_it, [*questions, *aspects, *reasons], [state, message, figures], trigger_mode="once", **PRIVATE)


def _shown(benchmark: Benchmark, item: BenchItem) -> Markup:
    """Picture, prompt, and the reference before them where there is one."""
    parts = []
    for column, title in (("reference_image", "Reference"), ("image", "Picture to rate")):
        image = benchmark.picture(item, column) if column == "image" or item.has_reference else None
        if image is not None:
            parts.append(captioned(image, title, 512))
    prompt = Markup('<p class="tj-prompt"><small>Prompt</small>{}</p>').format(item.prompt)
    return Markup('<div class="tj-pictures" data-item="{}">{}</div>{}').format(item.id, join(parts), prompt)


def _question_fields(item: BenchItem) -> list[gr.Radio]:
    """One choice per sub-question; none on DreamBench++'s scales, which have no sub-questions."""
    if item.has_reference or not item.questions:
        return []
    with gr.Accordion("Small questions first (skip those that you cannot answer)", open=True):
        return [
            gr.Radio(
                list(_ANSWERS),
                value=None,
                label=question.text + (f" (expected: {question.expected})" if question.expected else ""),
                elem_classes="tj-small",
                key=f"{item.key}/{question.id}",
            )
            for question in item.questions
        ]


def _aspect_fields(item: BenchItem) -> tuple[list[gr.Radio], list[gr.Textbox]]:
    """A score and a reason for every aspect."""
    scale = range(5) if item.has_reference else range(11)
    scores, reasons = [], []
    for aspect in aspects_of(item):
        with gr.Group():
            scores.append(
                gr.Radio(
                    [(str(level), level) for level in scale],
                    value=None,
                    label=aspect_name(aspect),
                    info=ANCHORS[aspect],
                    elem_classes="tj-levels",
                    elem_id=f"score-{aspect}",
                    key=f"{item.key}/{aspect}",
                )
            )
            reasons.append(
                gr.Textbox(
                    label=f"Why? ({aspect_name(aspect).lower()})",
                    max_length=MAX_PROMPT,
                    lines=1,
                    elem_id=f"why-{aspect}",
                    key=f"{item.key}/{aspect}/why",
                )
            )
    return scores, reasons


def agreement_view(store: AnnotationStore) -> Markup:
    """Alpha of every aspect and of votes on pairs, with the number of items, or why it is undefined."""
    parts = [forms_view(store)] if store.all() else []
    parts += [pairs_view(store)] if store.votes() else []
    if not parts:
        return notice("Nothing is saved yet. Agreement is shown here once two people have rated the same pictures.")
    return join(parts)


def forms_view(store: AnnotationStore) -> Markup:
    """The part about single pictures."""
    annotations = store.all()
    people, pictures = {each.annotator_id for each in annotations}, {each.item for each in annotations}
    rows = join(
        Markup('<tr><th scope="row">{}</th><td class="tj-digits" data-alpha="{}">{}</td><td>{}</td></tr>').format(
            aspect_name(aspect),
            aspect,
            "–" if alpha.value is None else f"{alpha.value:.2f}",
            alpha.undefined or counted(alpha.n, "picture"),
        )
        for aspect, alpha in agreement(store).items()
    )
    return Markup(
        '<div class="tj-table"><table><caption>Agreement so far, Krippendorff’s α (interval): '
        "{}, {}, {}</caption><thead><tr>"
        '<th scope="col">Aspect</th><th scope="col">α</th><th scope="col">pictures</th></tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(
        counted(len(people), "annotator"), counted(len(pictures), "picture"), counted(len(annotations), "form"), rows
    )


def _take_home(store: AnnotationStore, figures: gr.HTML) -> None:
    """Refresh, export, and both as API endpoints."""
    with gr.Row():
        refresh = gr.Button("Refresh agreement", size="sm")
        export = gr.Button("Prepare the export", size="sm", elem_id="export")
    link = html(elem_id="export-link")
    view, rows, alphas, links = (_known(of, store) for of in (agreement_view, _rows, agreement, _links))
    gr.Timer(15).tick(view, None, figures, **PRIVATE)
    refresh.click(view, None, figures, **PRIVATE)

    def human_scores(request: gr.Request | None = None) -> list[dict]:
        """All annotations as rows {id, human_scores}: human_scores is that column of the benchmark dataset."""
        _exported(request)
        return rows()

    def alpha() -> dict:
        """Krippendorff's alpha (interval) of every aspect so far: value (null when undefined), n pictures, reason."""
        return {a: {"alpha": c.value, "n": c.n, "undefined": c.undefined} for a, c in alphas().items()}

    def linked(request: gr.Request) -> Markup:
        try:
            EXPORTS.take(caller_of(request))
        except UserError as error:
            return notice(str(error), "bad")
        return links()

    def votes(request: gr.Request | None = None) -> list[dict]:
        """All votes on pairs as rows {item_a, item_b, annotator, vote, shown_first}."""
        _exported(request)
        return store.export_votes()

    export.click(linked, None, link, **PRIVATE)
    gr.api(human_scores, api_name="human_scores")
    gr.api(votes, api_name="votes")
    gr.api(alpha, api_name="agreement")


def _known(compute: Callable[[AnnotationStore], Any], store: AnnotationStore) -> Callable[[], Any]:
    """What a function says of the store, computed once until a record is added."""
    figures: Figures[int, Any] = Figures(lambda _: compute(store), most=1)

    def known() -> Any:
        return figures.now(store.version)

    return known


def _exported(request: gr.Request | None) -> None:
    """Count it, or tell a client of the API that it is too much."""
    try:
        EXPORTS.take(caller_of(request) if request else NOBODY)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error


def _rows(store: AnnotationStore) -> list[dict[str, Any]]:
    return store.export()


def _links(store: AnnotationStore) -> Markup:
    """The export in every format, inside the page."""
    rows = store.export()
    links = [
        download(f"human_scores{ending}", f"human_scores{ending}", write(rows), "text/plain")
        for ending, (write, _) in FORMATS.items()
    ]
    return join([*links, download("votes.csv", "votes.csv", votes_to_csv(store.export_votes()), "text/csv")])
