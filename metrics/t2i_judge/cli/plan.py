"""`t2i-judge plan TABLE --judge openai:MODEL`: items, calls, tokens and money of a run, before anything is paid.

Calls are exact for the structured protocol and for judges that ask no questions (`direct+openai:MODEL`,
`dreambench+openai:MODEL`, `vqa+openai:MODEL`), and for the staged protocol once the prompts are decomposed
(`--decompositions`, or `--decompose`, which makes them now and keeps them for the run). Image tokens follow the
provider's rule; text is counted as four characters per token.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..arguments import WrittenFolder
from ..errors import UserError, quoted
from ..inputs.images import ImageError, fitted, image_size
from ..inputs.readers import iter_rows
from ..inputs.rows import read_decompositions
from ..judges.dreambench import CONCEPT_PRESERVATION, NOW_PROMPT, NOW_REFERENCE, PLAN, PROMPT_FOLLOWING, instruction
from ..judges.names import DIRECT, DREAMBENCH, PAIR, VQA, JudgeName
from ..judges.staged import calls_of
from ..prompts import (
    DIRECT_CONSISTENCY,
    DIRECT_QUALITY,
    SOFT_TIFA,
    STAGED_ANSWER,
    STAGED_EXPLAIN,
    STAGED_SCORE,
    TEACHER_DECOMPOSE,
    TEACHER_JUDGE,
    TEACHER_SUMMARISE,
    questions_json,
)
from ..prompts import VQA as VQA_QUESTION
from ..records import Question
from ..served.prices import DATED, TEACHER, Price, load_prices, price_of
from ..served.wire import CHARACTERS_A_TOKEN
from ..wording import counted
from .judge_arguments import check_questions
from .numbers import Counted
from .places import JUDGE, TABLE
from .results import add_json, show
from .run_files import CACHE
from .score import add_columns, columns_of
from .served_arguments import add_served, served_options

_MEAN_QUESTIONS = 8.37  # of T2I-Eval's benchmark: 2,520 questions on 301 images
_ANSWER, _EXPLANATION, _SCORE, _SUMMARY = 12, 30, 4, 45  # tokens of what a model writes
_RATING, _PLANNED, _YES_OR_NO = 60, 120, 2

Item = tuple[str, Sequence[tuple[int, int]] | None]  # see `plan_run`


@dataclass
class CostPlan:
    """What a run costs.

    Attributes:
        estimated: whether the number of questions is unknown for some prompts.
        planned: axes whose plan, made once per run, is counted.
    """

    protocol: str
    price: Price | None
    items: int = 0
    unreadable: int = 0
    prompts: set[str] = field(default_factory=set)
    decompositions: int = 0
    judge_calls: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    t2i_eval_calls: float = 0.0
    estimated: bool = False
    planned: set[str] = field(default_factory=set)

    @property
    def calls(self) -> float:
        """All calls, except second requests and failed attempts."""
        return self.decompositions + self.judge_calls

    def money(self, batch: bool = False) -> float | None:
        """US dollars; None if the price is unknown."""
        return self.price.cost(round(self.input_tokens), round(self.output_tokens), batch) if self.price else None


def t2i_eval_calls(questions: Sequence[Question]) -> int:
    """Calls that T2I-Eval's own default pipeline makes for one image: 9 + 2 Qa + 3 (Qi + Qr), one after the other.

    Source: arXiv 2411.15488 and its code; Qa, Qi, Qr are the numbers of appearance, intrinsic and relationship
    questions.
    """
    kinds = Counter(question.aspect for question in questions)
    return 9 + 2 * kinds["appearance"] + 3 * (kinds["intrinsic"] + kinds["relationship"])


def protocol_of(judge: JudgeName, protocol: str | None = None) -> str | None:
    """What `plan_run` calls the way a judge is asked; None for a judge that is free and for one that compares pairs."""
    if not judge.served or judge.model is None or judge.protocol == PAIR:
        return None
    return judge.protocol or protocol or "structured"


def plan_run(
    items: Iterable[Item],
    protocol: str,
    price: Price | None,
    questions: Mapping[str, Sequence[Question]],
    soft_tifa: bool = False,
    max_image_side: int | None = None,
) -> CostPlan:
    """Add up a run.

    Args:
        items: (prompt, sizes of its image and reference image in pixels, or None when they cannot be read).
        protocol: "structured", "staged", or one that asks no questions: "direct", "dreambench", "vqa".
        price: of the model; its image rule is used even when the money is not known.
        questions: prompt -> questions that exist already and need no decomposition.
        soft_tifa: a "vqa" judge is asked these questions, or those of its decomposer (`plan_questions`).
        max_image_side: of the client, which scales larger images down.
    """
    plan, guess = CostPlan(protocol, price), _mean_number(questions)
    for prompt, sizes in items:
        plan.items += 1
        if sizes is None or not prompt.strip():
            plan.unreadable += 1
            continue
        images = [(price or Price(0, 0)).image_tokens(*fitted(size, max_image_side)) for size in sizes]
        if protocol in _RATINGS and not soft_tifa:
            plan.prompts.add(prompt)
            _add_ratings(plan, prompt, images)
            continue
        asked = questions.get(prompt)
        plan.estimated |= asked is None
        if asked is None and not soft_tifa:
            _add_decomposition(plan, prompt, guess)
        plan.prompts.add(prompt)
        asked = _typical(round(guess)) if asked is None else asked
        if soft_tifa:
            _add_answers(plan, asked, images[0])
        else:
            _add_image(plan, prompt, asked, sum(images))
    return plan


def plan_questions(items: Iterable[Item], price: Price | None, questions: Mapping[str, Sequence[Question]]) -> CostPlan:
    """Add up what a `--decomposer` is asked; arguments as of `plan_run`."""
    plan, guess = CostPlan("decomposition", price), _mean_number(questions)
    for prompt, sizes in items:
        if sizes is not None and prompt.strip() and prompt not in questions:
            _add_decomposition(plan, prompt, guess)
            plan.prompts.add(prompt)
    return plan


def _mean_number(questions: Mapping[str, Sequence[Question]]) -> float:
    return sum(map(len, questions.values())) / len(questions) if questions else _MEAN_QUESTIONS


def _add_decomposition(plan: CostPlan, prompt: str, guess: float) -> None:
    """The call that turns a prompt into about so many questions, once for all of its images."""
    if prompt not in plan.prompts:
        plan.decompositions += 1
        plan.input_tokens += _tokens(TEACHER_DECOMPOSE, prompt)
        plan.output_tokens += 40 * guess


def _add_answers(plan: CostPlan, questions: Sequence[Question], image: int) -> None:
    """Calls and tokens of one image by Soft-TIFA, which takes one for each question."""
    plan.judge_calls += len(questions)
    plan.input_tokens += sum(image + _tokens(SOFT_TIFA, question.text) for question in questions)
    plan.output_tokens += len(questions) * _YES_OR_NO


def _add_image(plan: CostPlan, prompt: str, questions: Sequence[Question], image: int) -> None:
    """Calls and tokens of one image."""
    plan.t2i_eval_calls += t2i_eval_calls(questions)
    aspects = len({question.aspect for question in questions})
    if plan.protocol == "structured":
        plan.judge_calls += 1
        plan.input_tokens += image + _tokens(TEACHER_JUDGE, prompt, questions_json(questions))
        plan.output_tokens += len(questions) * (_ANSWER + _EXPLANATION + 30) + (aspects + 1) * _SUMMARY
        return
    plan.judge_calls += calls_of(questions)
    for question in questions:
        first = image + _tokens(STAGED_ANSWER, question.text)
        second = first + _ANSWER + _tokens(STAGED_EXPLAIN, question.expected or "")
        last = second + _EXPLANATION + _tokens(STAGED_SCORE)
        plan.input_tokens += first + last + (second if question.expected is not None else 0)
        plan.output_tokens += _ANSWER + _EXPLANATION + _SCORE
    results = len(questions) * (_ANSWER + _EXPLANATION + 60)
    plan.input_tokens += (aspects + 1) * (image + _tokens(TEACHER_SUMMARISE, prompt)) + 2 * results
    plan.output_tokens += (aspects + 1) * _SUMMARY


def _add_ratings(plan: CostPlan, prompt: str, images: Sequence[int]) -> None:
    """Calls and tokens of one image under a protocol without questions, and of the plans that are made now."""
    calls = _RATINGS[plan.protocol](prompt, images)
    plan.judge_calls += len(calls)
    plan.input_tokens += sum(calls.values())
    plan.output_tokens += len(calls) * (_YES_OR_NO if plan.protocol == VQA else _RATING)
    if plan.protocol == DREAMBENCH:
        new = calls.keys() - plan.planned
        plan.planned |= new
        plan.judge_calls += len(new)
        plan.input_tokens += sum(_tokens(instruction(aspect), PLAN) for aspect in new)
        plan.output_tokens += len(new) * _PLANNED


def _viescore(prompt: str, images: Sequence[int]) -> dict[str, float]:
    """Input tokens of VIEScore's two calls, by call."""
    return {
        "consistency": images[0] + _tokens(DIRECT_CONSISTENCY, prompt),
        "quality": images[0] + _tokens(DIRECT_QUALITY),
    }


def _dreambench(prompt: str, images: Sequence[int]) -> dict[str, float]:
    """Axis -> input tokens of its rating, which repeats instruction and plan. Preservation needs a reference."""
    turns = {PROMPT_FOLLOWING: images[0] + _tokens(NOW_PROMPT, prompt)}
    if len(images) > 1:
        turns[CONCEPT_PRESERVATION] = sum(images) + _tokens(NOW_REFERENCE)
    return {aspect: now + _tokens(instruction(aspect), PLAN) + _PLANNED for aspect, now in turns.items()}


def _vqascore(prompt: str, images: Sequence[int]) -> dict[str, float]:
    """The one call of VQAScore, which shows no reference."""
    return {"yes or no": images[0] + _tokens(VQA_QUESTION, prompt)}


_RATINGS = {DIRECT: _viescore, DREAMBENCH: _dreambench, VQA: _vqascore}


def _tokens(*texts: str) -> float:
    return sum(map(len, texts)) / CHARACTERS_A_TOKEN


@cache
def _typical(number: int) -> tuple[Question, ...]:
    """Stand-ins for questions that are not known yet: a fifth about appearance, a tenth about relations."""
    aspects = ["appearance" if n % 5 == 0 else "relationship" if n % 10 == 1 else "intrinsic" for n in range(number)]
    return tuple(
        Question(f"q{n}", aspect, ("thing",), "Is there such a thing here?", None if aspect == "appearance" else "yes")
        for n, aspect in enumerate(aspects, 1)
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "table", type=TABLE, help=".csv, .jsonl, .parquet, a dataset folder or OWNER/NAME[:CONFIG[:SPLIT]]"
    )
    parser.add_argument("--judge", type=JUDGE, default=f"openai:{TEACHER}", help="served judge (default: %(default)s)")
    add_columns(parser)
    parser.add_argument(
        "--protocol", choices=("structured", "staged"), help="how openai:MODEL is asked (default: structured)"
    )
    parser.add_argument("--limit", type=int, action=Counted, help="count only the first LIMIT rows")
    parser.add_argument(
        "--decompositions", type=Path, help="JSON Lines of {prompt, questions}: questions that exist already"
    )
    parser.add_argument("--decompose", action="store_true", help="decompose the prompts now; needs --out")
    parser.add_argument(
        "--out", type=WrittenFolder((CACHE,)), help="folder of the later run; decompositions are kept there"
    )
    add_json(parser)
    add_served(parser, "the server, for its price and for --decompose")


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    judge = JudgeName.parse(args.judge)
    if judge.model is None or not judge.served:
        raise UserError(
            f"No plan for {quoted(args.judge)}",
            "Only served judges cost money",
            "Run `t2i-judge score`; it can be interrupted and continued",
        )
    if judge.protocol == PAIR:
        raise UserError(
            f"No plan for {quoted(args.judge)}",
            "It compares two images, and a table of single images has no pairs",
            "Run `t2i-judge leaderboard`; it says what the comparisons cost before it asks",
        )
    if judge.protocol and (args.protocol or args.decompose or args.decompositions):
        raise UserError(
            f"{quoted(args.judge)} asks no questions", "", "Leave out --protocol, --decompose and --decompositions"
        )
    price = price_of(judge.model, load_prices(args.prices) if args.prices else None)
    questions = _questions(args)
    protocol, side = judge.protocol or args.protocol or "structured", args.max_image_side
    plan = plan_run(_items(args), protocol, price, questions, max_image_side=side)
    if args.decompositions:
        check_questions(args.decompositions, questions, plan.prompts)
    show(args, _report(plan, judge.model), _figures(plan))
    return 0


def _items(args: argparse.Namespace) -> Iterable[Item]:
    columns = columns_of(args)
    for number, row in enumerate(iter_rows(args.table, count=args.limit, prompts_from=args.prompts_from)):
        if number == 0:
            columns.check(row, args.table)
        image, prompt, reference, _ = columns.item(row, number)
        try:
            yield prompt, [image_size(source) for source in (image, *([] if reference is None else [reference]))]
        except ImageError:
            yield prompt, None


def _questions(args: argparse.Namespace) -> Mapping[str, Sequence[Question]]:
    """The prompts' questions, from a file or asked for now."""
    if args.decompositions:
        return read_decompositions(args.decompositions)
    if not args.decompose:
        return {}
    if args.out is None:
        raise UserError("--decompose needs --out", "Paid replies must be kept", "Name the folder of the run")
    from ..judges.teacher import openai_judge

    columns = columns_of(args)
    rows = iter_rows(args.table, count=args.limit, prompts_from=args.prompts_from)
    distinct = dict.fromkeys(columns.item(row, number)[1] for number, row in enumerate(rows))
    prompts = [prompt for prompt in distinct if prompt.strip()]
    judge = openai_judge(JudgeName.parse(args.judge), cache=args.out / CACHE, **served_options(args))
    judge.check()
    decomposed = dict(zip(prompts, judge.decompose(prompts, progress=True)))
    judge.close()
    return {prompt: questions for prompt, questions in decomposed.items() if questions}


def _figures(plan: CostPlan) -> dict[str, object]:
    """The plan as JSON."""
    return {
        "protocol": plan.protocol,
        "items": plan.items,
        "unreadable": plan.unreadable,
        "prompts": len(plan.prompts),
        "calls": {"decompose": plan.decompositions, "judge": round(plan.judge_calls), "total": round(plan.calls)},
        "calls_exact": plan.protocol != "staged" or not plan.estimated,
        "t2i_eval_calls": round(plan.t2i_eval_calls),
        "input_tokens": round(plan.input_tokens),
        "output_tokens": round(plan.output_tokens),
        "money": plan.money(),
        "money_batch": plan.money(batch=True),
        "prices_dated": DATED,
    }


def _report(plan: CostPlan, model: str) -> str:
    figures = _figures(plan)
    exact = "exact" if figures["calls_exact"] else "an estimate: prompts are not decomposed yet, see --decompose"
    about = "" if not plan.estimated else ", an estimate: prompts are not decomposed yet"
    calls = f"{counted(plan.decompositions, 'decomposition', form=',')} + {plan.judge_calls:,.0f} judging"
    lines = [
        f"{counted(plan.items, 'item')} ({plan.unreadable} unreadable, not sent), "
        f"{counted(len(plan.prompts), 'prompt')}, {plan.protocol}",
        f"calls    {plan.calls:,.0f} ({calls}; {exact})",
        "retries  not counted: one more request for each reply that does not fit; attempts without an answer",
        f"tokens   about {plan.input_tokens:,.0f} in + {plan.output_tokens:,.0f} out",
    ]
    if plan.t2i_eval_calls:
        lines.insert(
            3, f"T2I-Eval {plan.t2i_eval_calls:,.0f} calls for the same images (9 + 2Qa + 3(Qi+Qr) each{about})"
        )
    money, batch = plan.money(), plan.money(batch=True)
    if money is None or batch is None:
        lines.append(f"money    unknown: there is no price for {model}; give one with --prices FILE")
    else:
        lines.append(f"money    about ${money:,.2f}, by the batch endpoint ${batch:,.2f}")
        lines.append(f"         at prices of {DATED}; --prices gives others")
    return "\n".join(lines)
