"""Chat templates of a release write messages, and reach for nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipes.safety.gate_files import file_findings

ATTACKS = [
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{% set c = cycler %}{{ c }}",
    "{{ ''['__class__'] }}",
    "{{ ''['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ ''|attr(messages[0]) }}",
    "{{ messages | map(attribute='content.__class__') | list }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{{ ''['_' ~ '_class_' ~ '_'] }}",
    "{% set n = '_' * 2 %}{{ ''[n + 'class' + n] }}",
    "{{ messages._private }}",
    "{%- generation %}{{ lipsum() }}{% endgeneration %}",
    "{% include 'other.jinja' %}",
    "{%- from 'other.jinja' import a %}",
    "{{ self }}",
    "{{ 'no end }}",
]
HARMLESS = [
    "{%- for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m.content | trim }}"
    "{% if m.from %}{% break %}{% endif %}{% endfor %}",
    "{% generation %}{{ messages[0]['content'].replace('_', ' ').split('<think>')[-1] }}{% endgeneration %}",
    "{# __class__ of cycler #}{% set ns = namespace(attr=1) %}{% set _args = ns %}{{ _args }}{{ ns.attr }} self"
    ", cycler and __init__ as words",
]


def used(path: Path) -> list[str]:
    return [wrong for check, wrong, _ in file_findings(path) if check == "remote_code"]


@pytest.mark.parametrize("template", ATTACKS)
def test_a_template_that_reaches_for_pythons_objects_is_found(tmp_path: Path, template: str) -> None:
    (tmp_path / "chat_template.jinja").write_text(template)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    named = {"chat_template": [{"name": "default", "template": template}]}
    (tmp_path / "processor_config.json").write_text(json.dumps(named))
    assert all("template" in " ".join(used(path)) for path in tmp_path.iterdir())


@pytest.mark.parametrize("template", HARMLESS)
def test_a_plain_template_passes(tmp_path: Path, template: str) -> None:
    (tmp_path / "chat_template.jinja").write_text(template)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template, "name": "__class__"}))
    assert not any(used(path) for path in tmp_path.iterdir())
