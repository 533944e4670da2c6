"""What a release was made with: the bill of materials, the licences, an audit without a network."""

from __future__ import annotations

import json
import zipfile

import pytest

from recipes.dependencies import main
from recipes.safety.dependencies import UNKNOWN, Package, bill, needed

OWN = Package("t2i-judge", "1", "X", ("b",))
PACKAGES = [Package("a", "1.5", "MIT", ()), Package("b", "2.0", UNKNOWN, ("a",)), OWN]


def test_what_a_release_needs_is_listed_down_to_the_last_package():
    packages = {package.name: package for package in needed()}
    assert {"t2i-judge", "torch", "transformers", "trl", "safetensors", "urllib3"} <= packages.keys()
    assert not {"gradio", "pytest"} & packages.keys()  # of other extras
    assert "torch" in packages["t2i-judge"].needs
    assert "tokenizers" in packages["transformers"].needs
    unstated = [name for name, package in packages.items() if package.license == UNKNOWN]
    assert not unstated


def test_the_bill_names_each_package_once_and_says_the_same_each_time():
    content = json.loads(bill(PACKAGES))
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.6")
    assert content["metadata"]["component"]["name"] == "t2i-judge"
    assert [part["purl"] for part in content["components"]] == ["pkg:pypi/a@1.5", "pkg:pypi/b@2.0"]
    assert content["components"][0]["licenses"] == [{"license": {"name": "MIT"}}]
    assert "licenses" not in content["components"][1]
    assert content["dependencies"][1] == {"ref": "b", "dependsOn": ["a"]}
    assert bill(PACKAGES) == bill(PACKAGES)


def advisory(name: str, **entry: object) -> dict[str, object]:
    package = {"ecosystem": "PyPI", "name": name}
    return {"id": f"TEST-{name}", "summary": "it burns", "affected": [{"package": package, **entry}]}


def ranged(*events: dict[str, str]) -> dict[str, object]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


@pytest.mark.parametrize(
    ("entry", "concerns"),
    [
        (ranged({"introduced": "0"}), True),
        (ranged({"introduced": "0"}, {"fixed": "0.0.1"}), False),
        (ranged({"introduced": "0"}, {"fixed": "999"}), True),
        (ranged({"fixed": "999"}, {"introduced": "0"}), True),
        (ranged({"introduced": "0"}, {"last_affected": "0.0.1"}), False),
        (ranged({"introduced": "999"}), False),
        (ranged({"introduced": "0"}, {"fixed": "0.0.1"}, {"introduced": "0.0.2"}), True),
        ({"versions": ["0.0.1"]}, False),
        ({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, False),
    ],
)
def test_an_audit_reads_versions_and_ranges(tmp_path, capsys, entry, concerns):
    (tmp_path / "a.json").write_text(json.dumps(advisory("Torch", **entry)))
    assert main(["audit", "--from", str(tmp_path)]) == int(concerns)
    assert ("TEST-Torch it burns" in capsys.readouterr().out) == concerns


def test_an_audit_reads_a_zip_and_passes_over_what_was_withdrawn(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("x.json", json.dumps({**advisory("torch", **ranged({"introduced": "0"})), "withdrawn": "now"}))
    assert main(["audit", "--from", str(tmp_path / "all.zip")]) == 0
    assert "0 advisories" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_an_audit_by_nothing_is_refused(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "all.zip").write_bytes(content)
    assert main(["audit", "--from", str(tmp_path / "all.zip")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_commands_print(capsys):
    assert main(["licenses"]) == 0
    assert "Apache-2.0" in capsys.readouterr().out
    assert main(["bill"]) == 0
    assert json.loads(capsys.readouterr().out)["bomFormat"] == "CycloneDX"
