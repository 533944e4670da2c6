"""T2I-Eval's own result files as columns, so that `t2i_eval_legacy` can regenerate the paper's table from them.

Formats as in its public repository (maziao/T2I-Eval): scores.json holds the annotators' and GPT-4o's scores, a method's
`summarize-result-score.jsonl` its own, one object per sample, joined on `str(id)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..inputs.readers import iter_rows
from ..wording import counted

CATEGORIES = ("appearance", "intrinsic", "relationship", "overall")
MANUAL = ("manual_1", "manual_2", "manual_3", "manual_avg")


def t2i_eval_columns(
    scores: str | Path, results: Mapping[str, str | Path], category: str = "overall"
) -> dict[str, list[Any]]:
    """Columns manual_1 .. manual_avg, openai (GPT-4o's score in scores.json) and one per method, raw as they stand.

    Args:
        scores: scores.json.
        results: method -> its summarize-result-score.jsonl. Samples that a method has no line for are left out of all
            columns, as upstream drops them; a line without a sample is an error.
        category: appearance, intrinsic, relationship or overall.

    Raises:
        UserError: an unknown category, a sample without that category, without an id or with two different scores, a
            result that belongs to no sample.
    """
    if category not in CATEGORIES:
        raise UserError(f"There is no category '{category}'", "", f"Use one of {', '.join(CATEGORIES)}")
    people = _by_id(scores, lambda row: _summary(row, category, scores))
    methods = {name: _scores(path, category, people.keys()) for name, path in results.items()}
    kept = [sample for sample in people if all(sample in method for method in methods.values())]
    columns: dict[str, list[Any]] = {
        name: [people[sample]["manual_score"][position] for sample in kept] for position, name in enumerate(MANUAL)
    }
    columns["openai"] = [people[sample].get("score") for sample in kept]
    return columns | {name: [method[sample] for sample in kept] for name, method in methods.items()}


def _by_id(path: str | Path, value: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any]:
    """`str(id)` -> value of each row. Raises `UserError`: of two values of one id, the last would count."""
    found: dict[str, Any] = {}
    for number, row in enumerate(iter_rows(path), 1):
        if row.get("id") is None:
            raise UserError(f"{path}, row {number} has no id", "Samples are joined by it", "Use T2I-Eval's own file")
        sample, own = str(row["id"]), value(row)
        if repr(found.setdefault(sample, own)) != repr(own):
            raise UserError(f"{path} has sample {sample} twice", "Their scores differ", "Keep one of them")
    return found


def _summary(row: Mapping[str, Any], category: str, path: str | Path) -> Mapping[str, Any]:
    try:
        summary: Mapping[str, Any] = row["overall"][category]
        if len(summary["manual_score"]) == len(MANUAL):
            return summary
        reason = f"manual_score has {counted(len(summary['manual_score']), 'entry', 'entries')}, not {len(MANUAL)}"
    except (KeyError, TypeError) as error:
        reason = f"overall.{category}.manual_score is not there ({error})"
    raise UserError(f"{path}, sample {row.get('id')}: {reason}", "", "Use T2I-Eval-Bench's scores.json")


def _scores(path: str | Path, category: str, known: Any) -> dict[str, Any]:
    scores = _by_id(path, lambda row: row.get(f"{category}_score"))
    strange = next((sample for sample in scores if sample not in known), None)
    if strange is not None:
        raise UserError(
            f"{path} has sample {strange}", "The file scores.json does not", "Use results on the same benchmark"
        )
    return scores
