"""Which patterns of an adapter's configuration may be tried on the names of a model's layers.

peft takes texts of adapter_config.json for regular expressions (target_modules, exclude_modules, modules_to_save,
layers_pattern, the keys of rank_pattern and alpha_pattern, ...), and one such as ([a-z]+)+! runs for years. So every
text there is a plain name, or made of what trainers write: names, points, \\d+, .*, groups of alternatives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import UserError, quoted
from ..files import read_object
from .kinds import CONFIG

_FREE = {  # texts that are never matched
    "base_model_name_or_path", "revision", "peft_version", "auto_mapping", "megatron_core", "tokenizer_name_or_path",
    "prompt_tuning_init_text",
}  # fmt: skip
_WHOLE = ("target_modules", "exclude_modules")  # fullmatch of these; of others, peft puts .* in front
_LONGEST, _MOST, _MOST_NAMES = 4_000, 500, 10_000  # characters of a pattern; patterns; names in a list
_REPEATS, _WAYS = 4, 4
_SINGLE = r"(?:\\[dw]|\.|\[\^?(?:[\w.-]|\\[dw.])+\])"
_TOKEN = re.compile(
    rf"(?P<digits>(?:\\d|\[0-9\]|\[\\d\])(?:[*+]|\{{\d{{1,2}}(?:,\d{{0,2}})?\}})\??)"
    rf"|(?P<repeat>{_SINGLE}(?:[*+]|\{{\d{{1,2}}(?:,\d{{0,2}})?\}})\??)"
    rf"|(?P<single>{_SINGLE})"
    r"|(?P<open>\((?:\?[:=!])?)|(?P<close>\))|(?P<bar>\|)|(?P<edge>\^|\$|\\b)"
    r"|(?P<plain>\\[.\-_/]|[^\\.\[\](){}*+?^$|])"
)


def check_patterns(adapter: Path) -> None:
    """Raise `UserError` if an adapter's configuration has a text that is no plain name and no safe pattern."""
    for name, value in read_object(adapter / CONFIG).items():
        if name in _FREE:
            continue
        texts = list(_texts(value))
        most = _MOST_NAMES if name == _WHOLE[0] else _MOST
        if len(texts) > most:
            reason = f"Each is compared with every layer; at most {most:,} are read"
            raise UserError(f"{adapter / CONFIG}: {name} has {len(texts):,} names", reason, "Name layers by a pattern")
        for text in texts:
            if problem := fault(text, _REPEATS if name in _WHOLE else _REPEATS - 2):
                fix = r"Write names, \d+, .* and (one|another)"
                raise UserError(f"{adapter / CONFIG}: {name} is {quoted(text)}", f"A pattern {problem}", fix)


def refuse_own_adapter(model: str, revision: str | None = None) -> None:
    """Raise `UserError` for an adapter in a model's own folder, or repository on the Hub.

    transformers puts such an adapter into the model as it loads it, whatever the model is loaded for; of a repository
    it even loads another base, which the adapter names. Neither was compared with its weights.
    """
    from transformers.utils.peft_utils import find_adapter_config_file

    if find_adapter_config_file(model, revision=revision):
        reason = f"With it, {CONFIG} would make another model of the one that was looked at"
        raise UserError(f"{model} has an adapter beside its weights", reason, "Merge it, or name the model without it")


def fault(pattern: str, repeats: int = _REPEATS) -> str | None:
    """Why a pattern may cost more than its length does, as a sentence's end; None where it cannot.

    No group is repeated. At most `repeats` signs are, with a letter between two; so are digits, which are few.
    At most one alternative of a group fits at a place, but in few groups (`_WAYS` ways in all).
    """
    if len(pattern) > _LONGEST:
        return f"has at most {_LONGEST:,} characters"
    groups: list[list[str]] = [[""]]  # of each open group, how its alternatives begin
    begins, place, found, digits, ways, apart = True, 0, 0, 0, 1, True
    while place < len(pattern):
        if not (token := _TOKEN.match(pattern, place)):
            return f"of an adapter has no {quoted(pattern[place : place + 5])} there"
        kind, place = token.lastgroup, token.end()
        if kind == "repeat":
            found += 1
            if not apart or found > repeats:
                return f"repeats at most {repeats} signs, and has a letter between two"
            begins = apart = False
        elif kind == "digits":
            digits += 1
            if digits > _REPEATS:
                return f"has digits at most {_REPEATS} times"
            begins = False
        elif kind == "plain":
            apart = True
            groups[-1][-1] += token[0] if begins else ""
        elif kind == "open":
            groups.append([""])
            begins = True
        elif kind == "bar":
            groups[-1].append("")
            begins = True
        elif kind == "close":
            if len(groups) == 1:
                return "closes what it opened"
            ways *= _ways(groups.pop())
            begins = False
        else:
            begins = False
    if len(groups) > 1:
        return "closes what it opened"
    return "has alternatives that begin differently" if ways * _ways(groups[0]) > _WAYS else None


def _ways(begun: list[str]) -> int:
    """In how many ways a group may fit at a place: 1 where no alternative begins as another does."""
    begun = sorted(begun)  # one that another begins with stands before it
    alike = any(second.startswith(first) for first, second in pairwise(begun))
    return len(begun) if alike else 1


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, the names of a mapping too."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            left += [*map(str, value), *value.values()]
        elif isinstance(value, list):
            left += value
