"""Stamp the `evaluate` module's main script with what it needs: every library module's name, and a hash of them all.

python -m recipes.stamp           # rewrite metrics/t2i_judge/t2i_judge.py; run it after any change in the library
python -m recipes.stamp --check   # exit 1 when the stamp is old
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from t2i_judge.install_metric_command import SCRIPT, content_hash, helpers
from t2i_judge.records import write_atomic

LIBRARY = Path(__file__).parents[1] / "metrics" / "t2i_judge"


def stamped(library: Path = LIBRARY) -> str:
    """The main script's text as it should be."""
    text = (library / SCRIPT).read_text(encoding="utf-8")
    names = "\n".join(f"from .{path.stem} import __name__" for path in helpers(library))
    text = re.sub(r"^'''\n.*?'''$", lambda _: f"'''\n{names}\n'''", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r'^CONTENT_HASH = ".*"$', f'CONTENT_HASH = "{content_hash(library)}"', text, flags=re.MULTILINE)


def main() -> int:
    """Rewrite or check the stamp."""
    parser = argparse.ArgumentParser(description="Stamp the evaluate module with its helpers and their hash.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the stamp is old")
    args = parser.parse_args()
    current, wanted = (LIBRARY / SCRIPT).read_text(encoding="utf-8"), stamped()
    if args.check:
        return int(current != wanted)
    if current != wanted:
        write_atomic(LIBRARY / SCRIPT, wanted)
        print(f"{SCRIPT}: stamped {content_hash(LIBRARY)[:12]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
