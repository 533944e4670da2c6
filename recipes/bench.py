"""`make bench`: measures performance as ratios of two things run side by side, into build/bench.jsonl and a table.

A line is {"name", "value", "unit", "goal", "limit", "n", "machine"}; `limit` is the theoretical bound, if there is one,
and a value of null says that this machine cannot measure it (no GPU).
A missed goal is printed with the profile that explains it. The modules of `recipes/performance` hold the
workloads; each has `bench() -> list of lines` and, where a ratio can be taken apart, `profile(name) -> text`.

    python -m recipes.bench [agreement boards client packing serving space writing zero_shot]
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from t2i_judge.cli.results import add_json, show
from t2i_judge.files import write_atomic
from t2i_judge.layout import plain_table, terminal_width
from t2i_judge.running import command
from t2i_judge.terminal import Parser, note, say
from t2i_judge.wording import counted

PARTS = ("agreement", "boards", "client", "packing", "serving", "space", "writing", "zero_shot")
SPACE = ("space_p95_seconds", "space_lost", "space_start_seconds", "space_memory_gib")
AGREEMENT = (
    "million_rows_seconds",
    "million_rows_gib",
    "resample_seconds_million",
    "resample_row_ratio_100k",
    "resample_row_ratio_million",
)
BOARD = ("board_seconds", "board_memory_gib")
SERVING = ("serve_cpu_ms", "serve_lost", "serve_memory_ratio")
SMALLER_IS_BETTER = (
    "calls_per_image_ratio",
    "import_vs_numpy",
    "score_rss_ratio",
    *AGREEMENT,
    *BOARD,
    *SERVING,
    *SPACE,
)
OUTPUT = Path(__file__).resolve().parent.parent / "build" / "bench.jsonl"


def machine() -> str:
    """Processor, cores that this process may use, and memory."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {counted(len(os.sched_getaffinity(0)), 'core')}, {gib:.0f} GiB"


def met(line: Mapping[str, Any]) -> bool | None:
    """Whether a line reaches its goal; None if it has none, or was not measured."""
    if line["goal"] is None or line["value"] is None:
        return None
    if line["name"] in SMALLER_IS_BETTER:
        return line["value"] <= line["goal"]
    return line["value"] >= line["goal"]


@command("bench")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks and print goals and what cannot run. Returns 0 even if a goal is missed."""
    parser = Parser(prog="recipes.bench", description="Performance ratios, measured side by side.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help=f"some of {', '.join(PARTS)} (default: all)")
    add_json(parser)
    arguments = parser.parse_args(argv)
    lines, profiles, where = [], [], machine()
    for part in arguments.parts or PARTS:
        note(f"bench {part} ...")
        module = import_module(f"recipes.performance.{part}")
        try:
            measured = module.bench()
        except RuntimeError as error:  # what the other parts measured is kept
            say(f"bench {part}: not measured. {error}", file=sys.stderr)
            continue
        lines += measured
        missed = [line["name"] for line in measured if met(line) is False and hasattr(module, "profile")]
        profiles += [f"{name}: {text}" for name in missed if (text := module.profile(name))]
        write_atomic(OUTPUT, "".join(json.dumps({**line, "machine": where}) + "\n" for line in lines))
    rows: list[list[str]] = [["figure", "value", "goal", "limit", "n", ""]]
    for line in lines:
        goal, limit = ("" if line[key] is None else f"{line[key]:.3g}" for key in ("goal", "limit"))
        verdict = {True: "reached", False: "MISSED", None: ""}[met(line)]
        value = "not measured" if line["value"] is None else f"{line['value']:.3g} {line['unit']}"
        rows.append([line["name"], value, goal, limit, str(line["n"]), verdict])
    text = "\n".join([where, plain_table(rows, terminal_width()), *profiles])
    show(arguments, text, [{**line, "machine": where} for line in lines])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
