"""Compare: several pictures of one prompt, ranked on the same questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from comparison import Contestant, comparison, rank
from components import PRIVATE, endpoint, html, waiting
from examples import Examples
from files import Files
from guard import caller_of
from image_upload import GalleryUpload
from judging import JudgeDesk
from limits import MAX_IMAGES, MAX_PROMPT, clean_prompt, told
from offers import OwnKey
from t2i_judge.errors import UserError
from t2i_judge.records import Question, Status
from t2i_judge.wording import counted
from uploads import accepts_several, decoded
from views import notice, picture
from visitors import NOBODY, Visitor

Gallery = list[tuple[str, str | None]]


def build_compare(desk: JudgeDesk, files: Files, examples: Examples, name: gr.Dropdown, own: gr.State) -> None:
    """Lay out the tab inside the current Blocks, whose visitors' files are `files`."""
    gallery = GalleryUpload(
        label=f"2 to {MAX_IMAGES} pictures of one prompt",
        type="filepath",
        format="png",
        file_types=["image", ".heic", ".heif", ".avif"],
        sources=["upload"],
        interactive=True,
        columns=8,
        fit_columns=False,
        height=190,
        object_fit="contain",
        elem_id="pictures",
    )
    refused = html(elem_id="refused-pictures")
    label, hint = "Prompt", "What was asked for"
    prompt = gr.Textbox(label=label, placeholder=hint, max_length=MAX_PROMPT, elem_id="compare-prompt")
    with gr.Row():
        run = gr.Button("Compare", variant="primary", elem_id="compare-run")
        stop = gr.Button("Cancel", elem_id="compare-cancel")
    if examples.several:
        gr.Examples(examples.several, [gallery, prompt], example_labels=[examples.label], label="Example")
    result = html(waiting("The ranking is shown here."), elem_id="ranking")

    async def show(
        uploads: Gallery | None,
        text: str,
        judge: str,
        key: OwnKey | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio finds it by this default
    ) -> Markup:
        try:
            caller = caller_of(request)
            return comparison(await judge_all(desk, uploads, text, judge, key, progress, caller))
        except UserError as error:
            return notice(str(error), "bad")

    async def compare(
        images: Gallery, prompt: str, judge: str = desk.default, request: gr.Request | None = None
    ) -> dict[str, Any]:
        """Rank 2-8 pictures of one prompt. Returns ranking (labels, best first) and a Judgement for every picture."""
        try:
            caller = caller_of(request) if request else NOBODY
            contestants = await told(judge_all(desk, images, prompt, judge, caller=caller))
        finally:
            for path, _ in images or []:
                files.forget(path)
        ranking = [{"rank": place, "image": each.label} for place, each in rank(contestants)]
        return {"ranking": ranking, "judgements": [each.result.to_json() for each in contestants]}

    accepts_several(files, gallery, "pictures", refused)
    running: Any = run.click(show, [gallery, prompt, name, own], result, api_visibility="private", trigger_mode="once")
    stop.click(lambda: waiting("Cancelled."), None, result, cancels=running, queue=False, **PRIVATE)
    endpoint(compare, [gallery, prompt, name], "compare")


def _silent(*_: Any, **__: Any) -> None:
    """No progress to show."""


async def judge_all(
    desk: JudgeDesk,
    uploads: Gallery | None,
    prompt: str,
    name: str,
    own: OwnKey | None = None,
    progress: Callable[..., Any] = _silent,
    caller: Visitor = NOBODY,
) -> list[Contestant]:
    """Judge every picture by the same questions, which the first judgement that did not fail has made from the prompt.

    Each picture is decoded only for its own judgement, because eight of 24 megapixels would take .8 GB.
    """
    if not uploads or not 2 <= len(uploads) <= MAX_IMAGES:
        given = counted(len(uploads or []), "picture")
        raise UserError(given, f"A comparison takes 2 to {MAX_IMAGES}", "Add or remove some")
    text = clean_prompt(prompt)
    labels = unique([caption or Path(path).stem for path, caption in uploads])
    done = 0
    progress((0, len(uploads)), desc="judging")

    async def one(path: str, label: str, questions: Sequence[Question] | None) -> Contestant:
        nonlocal done
        async with decoded(caller, path) as [image]:
            result = await desk.judge(name, image, text, image_id=label, questions=questions, own=own, visitor=caller)
            shown = picture(image, label)
        done += 1
        progress((done, len(uploads)), desc="judging")
        return Contestant(label, shown, result)

    rest = [(path, label) for (path, _), label in zip(uploads, labels)]
    first = [await one(*rest.pop(0), None)]
    while rest and not first[-1].result.questions and first[-1].result.status is not Status.OK:
        first.append(await one(*rest.pop(0), None))
    questions = first[-1].result.questions or None
    return [*first, *await asyncio.gather(*(one(*each, questions) for each in rest))]


def unique(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that stand more than once: the next that makes no other name."""
    taken, labels = set(names), []
    for name in names:
        if names.count(name) == 1:
            labels.append(name)
            continue
        labels.append(next(label for k in count(1) if (label := f"{name} ({k})") not in taken))
        taken.add(labels[-1])
    return labels
