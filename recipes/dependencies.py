"""The packages behind a release: their licences, a bill of materials, and an audit that needs no network.

python -m recipes.dependencies licenses
python -m recipes.dependencies bill > sbom.cdx.json
python -m recipes.dependencies audit --from all.zip     # https://osv-vulnerabilities.storage.googleapis.com/PyPI/
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recipes.safety.dependencies import EXTRAS, audit, bill, needed
from t2i_judge.running import command
from t2i_judge.terminal import Parser, say
from t2i_judge.wording import counted


@command("dependencies", "Run the same command again.")
def main(argv: Sequence[str] | None = None) -> int:
    """Print what is asked for. Returns 1 if an audit finds something."""
    parser = Parser(prog="recipes.dependencies", description="List the packages that a release is made with.")
    parser.add_argument("--extras", default=",".join(EXTRAS), help="of this project (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("licenses", help="every package with its licence")
    commands.add_parser("bill", help="the same as a CycloneDX bill of materials")
    audited = commands.add_parser("audit", help="known vulnerabilities of these versions, from OSV")
    audited.add_argument("--from", type=Path, required=True, dest="database", help="OSV's all.zip for PyPI")
    arguments = parser.parse_args(argv)
    packages = needed(extras=[name for name in arguments.extras.split(",") if name])
    if arguments.command == "licenses":
        say("\n".join(f"{p.name:<28} {p.version:<16} {p.license}" for p in packages))
        return 0
    if arguments.command == "bill":
        say(bill(packages).rstrip("\n"))
        return 0
    found = audit(packages, arguments.database)
    say("\n".join(f"{a.package.name} {a.package.version}: {a.id} {a.summary}" for a in found))
    say(f"{counted(len(packages), 'package')}, {counted(len(found), 'advisory', 'advisories')}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
