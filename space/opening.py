"""Chooses the judge with which the Space opens: the release's own if the hardware is large enough, else another.

A real release never opens with the embedded judge, which declines photographs; that one is a further choice there. A
release of the embedded judge opens with a real one that the owner offers (`JUDGES`), unless `JUDGE` says otherwise.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hardware import Hardware, Need, arrived, hardware, need_of
from offers import OWN, offer
from settings import Settings
from t2i_judge.judges.names import HF, TINY, JudgeName

_OF_ONE_PICTURE = ("", "direct", "vqa")  # protocols that need no second picture and no reference


@dataclass(frozen=True)
class Opening:
    """The judges on offer, the default first unless it is a visitor's own.

    Attributes:
        judges: full names.
        default: as visitors call it.
        notice: the one line that says why the default is not the release's own judge; empty where it is.
        need: what the release's own judge takes, where that is known.
    """

    judges: tuple[str, ...]
    default: str
    notice: str = ""
    need: Need | None = None

    def progress(self, name: str) -> str:
        """How much of a judge's weights has come, in words."""
        return arrived(self.need) if self.need is not None and name == self.judges[0] else ""


def opening(settings: Settings, here: Callable[[], Hardware] = hardware) -> Opening:
    """Decide by what the release and the owner say and by what is here. Raises `UserError` for a name of no judge."""
    judge, more = JudgeName.parse(settings.judge), settings.more_judges
    if not settings.judge_is_the_owners and judge.kind == TINY and (real := _real(more, here)):
        return Opening((real, *(name for name in more if name != real), settings.judge), offer(real).name)
    if settings.judge_is_the_owners or judge.kind != HF:
        offered = dict.fromkeys((settings.judge, *more, TINY))  # Compose asks at every movement: none that costs
        return Opening(tuple(offered), offer(settings.judge).name)
    need = _need(judge)
    found = here()
    if need is None or need.fits(found):  # what cannot be learnt now is seen when it loads, beside everything else
        return Opening((settings.judge, *more, TINY), offer(settings.judge).name, need=need)
    short = f"This release's judge, {judge.model}, needs {need}; this Space has {found}."
    served = [name for name in (settings.space_judge, *more) if name and JudgeName.parse(name).served]
    instead = next(filter(_can_be_asked, served), None)
    if instead:
        label = offer(instead).label
        return Opening((instead, *more, TINY), offer(instead).name, f"{short} Here {label} judges instead.")
    key = f" {offer(served[0]).label} would judge instead, but this Space has no key for it." if served else ""
    choice = "The embedded judge is used here, for rendered scenes only. For other pictures, use your own key."
    return Opening((*more, TINY), OWN, f"{short}{key} {choice}")


def _need(judge: JudgeName) -> Need | None:
    """None where it cannot be learnt: no such repository, no token for it, no network."""
    try:
        return need_of(judge)
    except Exception as error:  # huggingface_hub raises a dozen types for what is one fact here
        logging.getLogger(__name__).warning("the size of %s is not known: %s", judge, str(error).partition("\n")[0])
        return None


def _real(names: Sequence[str], here: Callable[[], Hardware]) -> str | None:
    """The first judge of any picture that can be asked, or runs here."""
    for name in names:
        judge = JudgeName.parse(name)
        if judge.protocol not in _OF_ONE_PICTURE:
            continue
        if judge.served and _can_be_asked(name):
            return name
        if judge.kind == HF and ((need := _need(judge)) is None or need.fits(here())):
            return name
    return None


def _can_be_asked(name: str) -> bool:
    """Is there a key? A server of one's own may need none."""
    return bool(os.environ.get("OPENAI_API_KEY") or JudgeName.parse(name).base_url)
