"""Says what the judges of a leaderboard will cost before they are asked, and shares one --max-cost among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..boards.comparisons import Pairing
from ..boards.items import BoardItem
from ..inputs.images import ImageError, image_size
from ..judges.names import JudgeName
from ..prompts import PAIR
from ..records import Question
from ..runs.shards import Run
from ..served.cache import CallCache
from ..served.prices import Price, price_of
from ..served.wire import CHARACTERS_A_TOKEN
from ..terminal import note
from ..wording import counted
from .plan import CostPlan, plan_run, protocol_of

_VERDICT = 60  # tokens of a comparison's reply


class Purse:
    """The budget of one command, kept in the ledger that its judges share.

    Args:
        limit: US dollars, None for no limit.
        ledger: the cache of replies.
    """

    def __init__(self, limit: float | None, ledger: Path) -> None:
        self._limit, self._ledger = limit, ledger
        self._before = self._paid()

    def left(self) -> float | None:
        """What the next judge may spend; None for no limit."""
        return None if self._limit is None else max(0.0, self._limit - (self._paid() - self._before))

    def options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """A judge's options, with its budget reduced to what is left."""
        left = self.left()
        return {**options, **({} if left is None else {"max_cost": left})}

    def _paid(self) -> float:
        if not self._ledger.is_file():
            return 0.0
        cache = CallCache(self._ledger)
        try:
            return cache.paid().money or 0.0
        finally:
            cache.close()


def announce_judging(
    run: Run, judge: JudgeName, items: Sequence[BoardItem], questions: Mapping[str, Sequence[Question]]
) -> None:
    """Say on stderr what it costs to judge the images without a judgement. Says nothing for a judge that is free."""
    protocol = protocol_of(judge, run.options.get("protocol"))
    if protocol is None or judge.model is None:
        return
    todo = [item for number, item in enumerate(items) if run.done(number // run.size) is None]
    if not todo:
        return
    price = price_of(judge.model, run.options.get("prices"))
    _say(judge, counted(len(todo), "image"), plan_run(_sizes(todo), protocol, price, questions), run.options)


def announce_comparing(judge: JudgeName, wanted: Sequence[Pairing], options: Mapping[str, Any]) -> None:
    """The same for comparisons, which take two calls each, one per order."""
    if not wanted or not judge.served or judge.model is None:
        return
    plan = CostPlan("pair", price_of(judge.model, options.get("prices")))
    rule = plan.price or Price(0, 0)
    for pairing in wanted:
        try:
            images = sum(rule.image_tokens(*image_size(item.image)) for item in (pairing.a, pairing.b))
        except ImageError:
            continue
        plan.judge_calls += 2
        plan.input_tokens += 2 * (images + (len(PAIR) + len(pairing.a.prompt)) / CHARACTERS_A_TOKEN)
        plan.output_tokens += 2 * _VERDICT
    _say(judge, counted(len(wanted), "comparison"), plan, options)


def _sizes(items: Sequence[BoardItem]) -> Iterator[tuple[str, list[tuple[int, int]] | None]]:
    for item in items:
        try:
            yield item.prompt, [image_size(item.image)]
        except ImageError:
            yield item.prompt, None


def _say(judge: JudgeName, what: str, plan: CostPlan, options: Mapping[str, Any]) -> None:
    money = plan.money()
    cost = "price unknown (--prices FILE)" if money is None else f"about ${money:,.2f}"
    limit = options.get("max_cost")
    cap = "no --max-cost" if limit is None else f"at most ${limit:,.2f}"
    if money is not None and limit is not None and money > limit:
        cap += ", which may not be enough"
    calls = f"{counted(plan.decompositions, 'decomposition', form=',')} + " if plan.decompositions else ""
    note(
        f"{judge}: {what}, {calls}{counted(plan.judge_calls, 'call', form=',.0f')}, about "
        f"{plan.input_tokens:,.0f} + {plan.output_tokens:,.0f} tokens, {cost}; {cap}"
    )
