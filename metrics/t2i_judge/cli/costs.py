"""Says what a judge, its decomposer and its comparisons will cost before anybody is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..boards.comparisons import Pairing
from ..boards.items import BoardItem
from ..inputs.images import ImageError, fitted, image_size
from ..judges.names import VQA, JudgeName
from ..prompts import PAIR
from ..records import Question, Status
from ..runs.shards import Run
from ..runs.standing import Standing
from ..served.prices import Price, price_of
from ..served.wire import CHARACTERS_A_TOKEN
from ..terminal import note
from ..wording import counted
from .plan import CostPlan, Item, plan_questions, plan_run, protocol_of

_VERDICT = 60  # tokens of a comparison's reply


def announce_judging(
    judge: JudgeName,
    options: Mapping[str, Any],
    what: str,
    items: Iterable[Item],
    questions: Mapping[str, Sequence[Question]],
    batch: bool = False,
) -> None:
    """Say on stderr what judging will cost, except for second requests and cached replies.

    One line is the judge's, and one its decomposer's. There is none for what is free.

    Args:
        judge, options: name of the judge and the options of `load_judge`.
        what: the items in words, such as "12 images".
        items: as in `plan.plan_run`.
        questions: prompt -> questions that exist already.
        batch: by the batch endpoint, at its price.
    """
    protocol = protocol_of(judge, options.get("protocol"))
    told = options.get("decomposer_options")  # of a decomposer that is served
    if protocol is None and told is None:
        return
    todo = list(items)
    if told is not None:
        decomposer = JudgeName.parse(options["decomposer"])
        written = plan_questions(todo, price_of(str(decomposer.model), told.get("prices")), questions)
        _say(decomposer, counted(len(written.prompts), "prompt", form=","), written, told)
    if protocol is not None:
        asks = protocol == VQA and bool(options.get("decomposer") or questions)
        price, side = price_of(str(judge.model), options.get("prices")), options.get("max_image_side")
        plan = plan_run(todo, protocol, price, questions, asks, side)
        _say(judge, what, plan, options, batch)


def announce_comparing(judge: JudgeName, wanted: Sequence[Pairing], options: Mapping[str, Any]) -> None:
    """The same for comparisons, which take two calls each, one per order."""
    if not wanted or not judge.served or judge.model is None:
        return
    plan = CostPlan("pair", price_of(judge.model, options.get("prices")))
    rule, side = plan.price or Price(0, 0), options.get("max_image_side")
    for pairing in wanted:
        try:
            sizes = [fitted(image_size(item.image), side) for item in (pairing.a, pairing.b)]
        except ImageError:
            continue
        images = sum(rule.image_tokens(*size) for size in sizes)
        plan.judge_calls += 2
        plan.input_tokens += 2 * (images + (len(PAIR) + len(pairing.a.prompt)) / CHARACTERS_A_TOKEN)
        plan.output_tokens += 2 * _VERDICT
    _say(judge, counted(len(wanted), "comparison"), plan, options)


def remaining(run: Run, standing: Standing, items: Sequence[BoardItem]) -> list[BoardItem]:
    """The images of a run without a judgement that counts.

    Args:
        run: over these items, in their order.
        standing: what a line of a shard that is not done must say of its judge to be kept.
        items: of the board.
    """
    shards = range(0, len(items), run.size)
    todo = [item for start in shards if run.done(start // run.size) is None for item in items[start : start + run.size]]
    lines = run.kept_lines() if todo else ()
    kept = {_of_line(line) for line in lines if line["status"] == Status.OK.value and standing.is_by_judge(line)}
    return [item for item in todo if (item.id, item.prompt, item.sha256) not in kept]


def _of_line(line: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Id, prompt and hash of the image that a line of a board's shard is of."""
    return line["image_id"], line["prompt"], line["row"].get("sha256")


def sized(items: Iterable[BoardItem]) -> Iterator[Item]:
    """Prompts and sizes of images, as `announce_judging` takes them."""
    for item in items:
        try:
            yield item.prompt, [image_size(item.image)]
        except ImageError:
            yield item.prompt, None


def _say(judge: JudgeName, what: str, plan: CostPlan, options: Mapping[str, Any], batch: bool = False) -> None:
    if not plan.calls:
        return
    money = plan.money(batch)
    cost = "price unknown (--prices FILE)" if money is None else f"about ${money:,.2f}{' as batches' if batch else ''}"
    left = options["max_cost"].left if options.get("max_cost") else None
    cap = "no --max-cost" if left is None else f"at most ${left:,.2f}"
    if money is not None and left is not None and money > left:
        cap += ", which may not be enough"
    kinds = {"decomposition": (plan.decompositions, ","), "call": (plan.judge_calls, ",.0f")}
    calls = " + ".join(counted(number, kind, form=form) for kind, (number, form) in kinds.items() if number)
    note(f"{judge}: {what}, {calls}, about {plan.input_tokens:,.0f} + {plan.output_tokens:,.0f} tokens, {cost}; {cap}")
