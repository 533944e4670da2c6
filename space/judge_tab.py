"""The Judge tab: which judge, and then one picture, several pictures, or a scene to break."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from compare_tab import build_compare
from components import PRIVATE, endpoint, html, waiting
from composer_tab import build_composer
from examples import Examples
from files import Files
from guard import caller_of
from image_upload import ImageUpload
from judging import JudgeDesk
from limits import MAX_PROMPT, clean_prompt, told
from links import OF_THE_PAGE, write
from offers import OWN, PROVIDERS, OwnKey, own_key
from selftest_view import selftest_table
from t2i_judge.errors import UserError
from t2i_judge.records import Judgement, Question, Status
from uploads import accepts, decoded
from views import join, judgement, notice
from visitors import NOBODY, Visitor

_SCENES_ONLY = (
    "The judge of this demo knows only scenes of simple shapes, not photographs: change one and watch the score. "
    "To judge your own picture, choose “your own key” as judge."
)
_LOOK_AGAIN = 2.0  # seconds between two looks at a judge that is being loaded
_WRITING = Markup('<p class="tj-writing" role="status">The explanations are being written.</p>')
# On a phone the score comes below the fold.
_INTO_VIEW = """() => {
  const result = document.querySelector('#result');
  if (result.querySelector('.tj-result') && result.getBoundingClientRect().top > .7 * window.innerHeight)
    result.scrollIntoView({behavior: 'smooth'});
  return [];
}"""
_KEY_SECONDS = 1800  # a visitor's key is forgotten this long after it was last touched, or when the page is left


def build_judge_tab(
    desk: JudgeDesk, files: Files, examples: Examples, line: str = "", selftests: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Lay out the tab inside the current Blocks, whose visitors' files are `files`.

    `line` stands above everything, `selftests` of the release's judges below. A visitor's picture comes first where a
    judge is there that sees it, else a scene.
    """
    scenes_only = not desk.sees_pictures
    line = line or (_SCENES_ONLY if scenes_only else "")
    if line:
        html(notice(line), elem_id="opening")
    name, own = _choice(desk)

    def one() -> None:
        with gr.Tab("One", id="one") as tab:
            _one(desk, files, examples, name, own)
        tab.select(**write("one"))

    def compare() -> None:
        with gr.Tab("Compare", id="compare") as tab:
            build_compare(desk, files, examples, name, own)
        tab.select(**write("compare"))

    def compose() -> None:
        with gr.Tab("Compose", id="compose") as tab:
            build_composer(tab, desk)
        tab.select(**write("compose"))

    first_to_last = (compose, one, compare) if scenes_only else (one, compare, compose)
    with gr.Tabs(overflow_behavior="wrap"):
        for lay_out in first_to_last:
            lay_out()
    if selftests:
        html(selftest_table(selftests), elem_id="selftest")


def banner(desk: JudgeDesk, name: str) -> Markup:
    """What the chosen judge can and cannot see, and its progress while it is loading."""
    offer, standing = desk.offers[name], desk.standing(name)
    about = Markup('<p class="tj-banner"><b>{}</b> {} {}</p>').format(offer.label, offer.sees, offer.blind)
    kind = "bad" if standing.state == "failed" else "info"
    return about + notice(standing.line, kind) if standing.line else about


def _choice(desk: JudgeDesk) -> tuple[gr.Dropdown, gr.State]:
    """Judge, banner, and the visitor's own key."""
    with gr.Row(elem_classes="tj-choice"):
        labels = [(offer.label, name) for name, offer in desk.offers.items()]
        name = gr.Dropdown(labels, value=desk.default, label="Judge", elem_id="judge", scale=2, min_width=260)
        with gr.Column(scale=5, min_width=300):
            about = html(banner(desk, desk.default), elem_id="banner")
    with gr.Group(visible=False, elem_classes="tj-access") as access:
        own = _own_key()

    watch = gr.Timer(_LOOK_AGAIN, active=False)

    def describe(chosen: str) -> tuple[Markup, Any, Any]:
        desk.start(chosen)
        return banner(desk, chosen), gr.update(visible=chosen == OWN), gr.Timer(active=is_coming(chosen))

    def look(chosen: str) -> tuple[Markup, Any]:
        return banner(desk, chosen), gr.Timer(active=is_coming(chosen))

    def is_coming(chosen: str) -> bool:
        return desk.standing(chosen).state == "loading"

    gr.on(None, describe, name, [about, access, watch], **PRIVATE)  # when the page opens, and when another is chosen
    watch.tick(look, name, [about, watch], **PRIVATE)
    return name, own


def _own_key() -> gr.State:
    """A form for the visitor's key, which leaves the page as soon as it is accepted and lives in the returned state."""
    own = gr.State(None, time_to_live=_KEY_SECONDS)
    with gr.Row():
        provider = gr.Dropdown(list(PROVIDERS), value=next(iter(PROVIDERS)), label="Provider", min_width=160)
        model = gr.Textbox(label="Model", placeholder="gpt-4o-2024-11-20", max_length=100, min_width=160)
        key = gr.Textbox(label="Your key", type="password", max_length=300, min_width=160, elem_id="own-key")
    with gr.Row():
        use = gr.Button("Use this key for this visit", size="sm", elem_id="use-key")
        forget = gr.Button("Forget it", size="sm")
    answer = html(elem_id="key-told")
    use.click(_keep, [provider, model, key], [own, key, answer], **PRIVATE)
    forget.click(lambda: (None, "", notice("The key is forgotten.")), None, [own, key, answer], **PRIVATE)
    return own


def _keep(provider: str, model: str, key: str) -> tuple[OwnKey | None, str, Markup]:
    """The key into this visit's memory, and out of the page."""
    try:
        kept = own_key(provider, model, key)
    except UserError as error:
        return None, "", notice(str(error), "bad")
    return (
        kept,
        "",
        notice(f"{kept.model} at {kept.provider} is called with your key until you leave this page.", "good"),
    )


def _one(desk: JudgeDesk, files: Files, examples: Examples, name: gr.Dropdown, own: gr.State) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            image = _upload("Picture", "picture")
            refused = html(elem_id="refused")
            label, hint = "Prompt", "What was asked for"
            prompt = gr.Textbox(label=label, placeholder=hint, max_length=MAX_PROMPT, elem_id="prompt")
            explain = gr.Checkbox(False, label="Explain every answer in words (slower)", elem_id="explain")
            with gr.Row():
                run = gr.Button("Judge", variant="primary", elem_id="run")
                stop = gr.Button("Cancel", elem_id="cancel")
            shelf = _shelf(examples, image, prompt)
            with gr.Accordion("Reference picture, for judges of personalised generation", open=False):
                reference = _upload("Reference", "reference")
        with gr.Column(scale=5, min_width=300):
            empty = waiting("Drop a picture, type its prompt and press Judge, or use an example.")
            result = html(empty, elem_id="result")

    async def show(
        path: str | None,
        text: str,
        judge: str,
        explained: bool,
        other: str | None,
        key: OwnKey | None,
        request: gr.Request,
    ) -> AsyncIterator[Markup]:
        caller = caller_of(request)
        ask = partial(_judge, desk, caller, path, text, judge, reference=other, own=key)
        here = judge in desk.offers and desk.offers[judge].kind == "local"
        async for shown in _score_then_words(ask, explained, here):
            yield shown

    async def judge(
        image: str | None,
        prompt: str,
        judge: str = desk.default,
        explain: bool = False,
        reference: str | None = None,
        request: gr.Request | None = None,
    ) -> dict[str, Any]:
        """Judge a picture for a prompt. Returns a Judgement: status, scores by aspect (0-10), questions, answers."""
        try:
            caller = caller_of(request) if request else NOBODY
            return (await told(_judge(desk, caller, image, prompt, judge, explain, reference))).to_json()
        finally:
            files.forget(image)
            files.forget(reference)

    if shelf is not None:
        shelf.click(partial(_kept, examples), shelf, result, **PRIVATE)
    accepts(files, image, "picture", refused)
    accepts(files, reference, "reference", refused)
    inputs = [image, prompt, name, explain, reference]
    options: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "once"}
    running: list[Any] = [trigger(show, [*inputs, own], result, **options) for trigger in (run.click, prompt.submit)]
    result.change(js=_INTO_VIEW, **OF_THE_PAGE)
    stop.click(lambda: waiting("Cancelled."), None, result, cancels=running, queue=False, **PRIVATE)
    endpoint(judge, inputs, "judge")


def _shelf(examples: Examples, image: ImageUpload, prompt: gr.Textbox) -> gr.Dataset | None:
    """The examples, if there are any; one fills both components."""
    if not examples.single:
        return None
    labels = list(examples.labels)
    return gr.Examples(examples.single, [image, prompt], example_labels=labels, label="Examples").dataset


async def _score_then_words(
    ask: Callable[..., Awaitable[Judgement]], explained: bool, here: bool
) -> AsyncIterator[Markup]:
    """The score as soon as it is there; words after it, where they are wanted of a judge that writes them `here`.

    A served judge gives both at once.
    """
    shown, after = Markup(""), explained and here
    try:
        scored = await ask(explain=explained and not after)
        shown = judgement(scored)
        if not after or scored.status is not Status.OK:
            yield shown
            return
        yield join([_WRITING, shown])
        yield judgement(await ask(explain=True, questions=scored.questions))
    except UserError as error:
        yield join([notice(str(error), "bad"), shown])


def _upload(label: str, name: str) -> ImageUpload:
    sources: list[Any] = ["upload", "clipboard"]
    return ImageUpload(label=label, type="filepath", format="png", sources=sources, height=300, elem_id=name)


async def _judge(
    desk: JudgeDesk,
    caller: Visitor,
    path: str | None,
    prompt: str,
    name: str,
    explain: bool,
    reference: str | None,
    own: OwnKey | None = None,
    questions: Sequence[Question] | None = None,
) -> Judgement:
    """Check what the visitor sent, then ask the judge."""
    if path is None:
        raise UserError("There is no picture", "", "Drop a picture, or use an example")
    text = clean_prompt(prompt)
    async with decoded(caller, path, *([reference] if reference else [])) as images:
        image, other = images[0], images[1] if reference else None
        return await desk.judge(
            name,
            image,
            text,
            image_id=Path(path).name,
            reference=other,
            questions=questions,
            explain=explain,
            own=own,
            visitor=caller,
        )


def _kept(examples: Examples, chosen: tuple[int, list[Any]]) -> Any:
    """An example's judgement, where the release's own run has made it."""
    kept = examples.judgements[chosen[0]] if examples.judgements else None
    if kept is None:
        return gr.skip()
    return join(
        [
            notice(f"Judged by {kept.judge.name} when this release was made. Press Judge to judge it again."),
            judgement(kept),
        ]
    )
