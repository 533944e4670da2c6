"""The scene composer's controls: break the picture, and see score and questions move beside the known truth."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from markupsafe import Markup

from components import PRIVATE, html
from composer import (
    EXAMPLES,
    MAX_ENTITIES,
    Choice,
    Composition,
    changed,
    draw,
    faithful,
    new_composition,
    true_answers,
    truth,
)
from guard import caller_of
from judging import JudgeDesk
from scenes.world import COLORS, DEFECTS, SIZES, TEXTURES
from t2i_judge.errors import UserError
from t2i_judge.records import ALL_ASPECTS, Judgement, Status
from views import aspect_name, bar, join, no_score, notice, number, picture, question_list
from visitors import NOBODY, Visitor

_FIELDS = 6  # controls a thing
_SEED = 7


@dataclass(frozen=True)
class Stage:
    """The composer's components: state and controls go in, everything comes out."""

    composition: gr.State
    prompt: gr.Dropdown
    swapped: gr.Checkbox
    groups: list[gr.Group]
    controls: list[Any]
    views: list[gr.HTML]  # picture, scores, questions

    @property
    def everything(self) -> list[Any]:
        """In the order of the values of `begin`."""
        return [self.composition, self.prompt, self.swapped, *self.groups, *self.controls, *self.views]


def build_composer(tab: gr.Tab, desk: JudgeDesk) -> None:
    """Lay out the composer inside `tab`; it asks the embedded judge, because it asks on every movement."""
    start = faithful(EXAMPLES[0], _SEED)
    with gr.Row(equal_height=False):  # on a phone: the picture, then the scores, then the controls, then the questions
        with gr.Column(scale=4, min_width=300):
            prompts = [(prompt.text, index) for index, prompt in enumerate(EXAMPLES)]
            prompt = gr.Dropdown(prompts, value=0, label="Pick a prompt", elem_id="prompts")
            shown = html(elem_id="stage")
        with gr.Column(scale=5, min_width=300):
            scores = html(elem_id="composed")
            with gr.Row():
                another = gr.Button("Another prompt, at random", size="sm", elem_id="another")
                restore = gr.Button("As asked", size="sm", elem_id="restore")
            swapped = gr.Checkbox(False, label="Swap the first two things", elem_id="swap")
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            groups, controls = _controls(start)
        with gr.Column(scale=5, min_width=300):
            questions = html(elem_id="composed-questions")
    stage = Stage(gr.State(start), prompt, swapped, groups, controls, [shown, scores, questions])
    _wire(tab, desk, stage, another, restore)
    _api(desk)


def _wire(tab: gr.Tab, desk: JudgeDesk, stage: Stage, another: gr.Button, restore: gr.Button) -> None:
    """Every movement of a control draws and judges anew; of movements that pile up, only the last one counts."""

    async def begin(composition: Composition, request: gr.Request) -> list[Any]:
        composition, views = await _show(desk, composition, caller_of(request))
        picked = EXAMPLES.index(composition.prompt) if composition.prompt in EXAMPLES else None
        swap = gr.update(value=composition.swapped, visible=bool(composition.prompt.relations))
        return [composition, picked, swap, *_updates(composition), *views]

    async def redraw(request: gr.Request, composition: Composition, swap: bool, *values: Any) -> list[Any]:
        things = range(len(composition.choices))
        choices = tuple(Choice(*values[_FIELDS * k : _FIELDS * (k + 1)]) for k in things)
        composition, views = await _show(desk, replace(composition, swapped=swap, choices=choices), caller_of(request))
        return [composition, *views]

    async def other(request: gr.Request) -> list[Any]:
        return await begin(new_composition(random.randrange(1_000_000)), request)

    async def pick(index: int, request: gr.Request) -> list[Any]:
        return await begin(faithful(EXAMPLES[index], _SEED), request)

    async def as_asked(composition: Composition, request: gr.Request) -> list[Any]:
        asked = faithful(composition.prompt, composition.seed)
        return await begin(replace(asked, questions=composition.questions), request)

    live = {**PRIVATE, "trigger_mode": "always_last"}
    inputs = [stage.composition, stage.swapped, *stage.controls]
    for control in inputs[1:]:
        control.input(redraw, inputs, [stage.composition, *stage.views], **live)
    # also when the page opens with this tab
    tab.select(begin, stage.composition, stage.everything, **live)
    stage.prompt.input(pick, stage.prompt, stage.everything, **live)
    another.click(other, None, stage.everything, **live)
    restore.click(as_asked, stage.composition, stage.everything, **live)


def _api(desk: JudgeDesk) -> None:
    async def compose(
        seed: int = _SEED,
        swapped: bool = False,
        changes: list[dict] | None = None,
        request: gr.Request | None = None,
    ) -> dict:
        """Judge a scene of the embedded world beside its known truth.

        `seed` names the prompt; its thing k is drawn as asked but for `changes[k]`: color, count, size, texture, defect
        (blur, noise or broken), severity (0-1). Returns prompt, judgement, truth by aspect, true answers by question.
        """
        try:
            composition = changed(new_composition(seed), swapped, changes or [])
            judgement = await _ask(desk, composition, caller_of(request) if request else NOBODY)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error
        answers = true_answers(composition, judgement.questions)
        return {
            "prompt": composition.prompt.text,
            "judgement": judgement.to_json(),
            "truth": truth(composition),
            "true_answers": {key: answer.text for key, answer in answers.items()},
        }

    gr.api(compose, api_name="compose")


def _controls(start: Composition) -> tuple[list[gr.Group], list[Any]]:
    """Six controls for each of up to three things; those of a thing that the prompt does not name are hidden."""
    groups, controls = [], []
    for index in range(MAX_ENTITIES):
        there = index < len(start.choices)
        choice = start.choices[index] if there else Choice("red", 1, "large", "plain")
        with gr.Group(visible=there, elem_id=f"thing-{index}") as group:
            with gr.Row():
                label = _color_label(start, index) if there else ""
                color = gr.Dropdown(list(COLORS), value=choice.color, label=label, min_width=130)
                count = gr.Slider(0, 4, choice.count, step=1, label="how many", min_width=150)
            with gr.Row():
                size = gr.Dropdown(list(SIZES), value=choice.size, label="size", min_width=130)
                texture = gr.Dropdown(list(TEXTURES), value=choice.texture, label="texture", min_width=130)
            with gr.Row():
                defect = gr.Dropdown(list(DEFECTS), value=choice.defect, label="defect", min_width=130)
                severity = gr.Slider(0, 1, choice.severity, step=0.05, label="how bad", min_width=150)
        groups.append(group)
        controls += [color, count, size, texture, defect, severity]
    return groups, controls


def _color_label(composition: Composition, index: int) -> str:
    return f"{composition.prompt.entities[index].shape}: colour"


def _updates(composition: Composition) -> list[Any]:
    """New values for the groups, then for all controls."""
    there = len(composition.choices)
    groups = [gr.update(visible=index < there) for index in range(MAX_ENTITIES)]
    controls: list[Any] = []
    for index, each in enumerate(composition.choices):
        color = gr.update(value=each.color, label=_color_label(composition, index))
        controls += [color, each.count, each.size, each.texture, each.defect, each.severity]
    return groups + controls + [gr.skip()] * (_FIELDS * (MAX_ENTITIES - there))


async def _ask(desk: JudgeDesk, composition: Composition, caller: Visitor) -> Judgement:
    return await desk.judge(
        desk.embedded,
        draw(composition),
        composition.prompt.text,
        image_id=f"scene-{composition.seed}",
        questions=composition.questions or None,
        key=composition,
        visitor=caller,
    )


def _drawn(composition: Composition) -> Markup:
    """The prompt and the picture made for it, enlarged without smoothing, so that no blur is added."""
    text = composition.prompt.text
    try:
        shown = picture(draw(composition), text)
    except UserError:
        shown = Markup('<p class="tj-empty">blank</p>')
    return Markup('<p class="tj-prompt"><small>Prompt</small>{}</p><div class="tj-stage">{}</div>').format(text, shown)


async def _show(desk: JudgeDesk, composition: Composition, caller: Visitor) -> tuple[Composition, list[Markup]]:
    """The composition with the questions that the judge made for it; its picture, scores and questions to look at."""
    try:
        judgement = await _ask(desk, composition, caller)
    except UserError as error:
        return composition, [_drawn(composition), notice(str(error), "bad"), Markup("")]
    questions = question_list(judgement, true_answers(composition, judgement.questions))
    views = [
        _drawn(composition),
        _scores(composition, judgement),
        Markup('<div class="tj-result">{}</div>').format(questions),
    ]
    return replace(composition, questions=judgement.questions), views


def _scores(composition: Composition, judgement: Judgement) -> Markup:
    """Judge beside truth for every aspect."""
    head = no_score(judgement) if judgement.status is not Status.OK else ""
    known = truth(composition)
    asked = [aspect for aspect in sorted(known, key=ALL_ASPECTS.index, reverse=True) if known[aspect] is not None]
    cells = '<td>{}</td><td class="tj-digits">{}</td>'
    row = Markup(f'<tr><th scope="row">{{}}</th>{cells}{cells}</tr>')
    rows = join(
        row.format(
            aspect_name(a),
            bar(judgement.scores.get(a)),
            number(judgement.scores.get(a)),
            bar(known[a]),
            number(known[a]),
        )
        for a in asked
    )
    return Markup(
        '<article class="tj-result">{}<div class="tj-table tj-truth"><table><thead><tr><th scope="col"></th>'
        '<th scope="col" colspan="2">judge</th><th scope="col" colspan="2">truth</th></tr></thead>'
        "<tbody>{}</tbody></table>"
        "<small>The truth is the scene's known quality. Its formula differs from the judge's.</small></div></article>"
    ).format(head, rows)
