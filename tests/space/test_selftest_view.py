"""The Space shows what the selftest of its judge found, with whatever stands in it as text."""

from __future__ import annotations

import json

from selftest_view import selftest_table
from settings import read_settings
from tests.recipes.synthetic import selftest_of


def test_the_verdict_and_every_attack_are_shown_as_text():
    made = [selftest_of("<script>tiny", "ab" * 32, 0.9), selftest_of("base", "ab" * 32)]
    shown = str(selftest_table(made))
    assert "<b>UNTRUSTED</b>" in shown and "&lt;script&gt;tiny" in shown and "<script>" not in shown
    assert shown.count('<th scope="row">') == 2 and shown.count("<b>fail</b>") == 1
    assert '<td class="tj-bad">+0.90 <small>[+0.80, +1.00]</small> <b>fail</b></td><td class="tj-good">+0.10' in shown


def test_it_is_of_the_release_s_own_judges(tmp_path):
    release, made = tmp_path / "release.json", selftest_of("tiny", "ab" * 32)
    release.write_text(json.dumps({"judge": "tiny", "selftests": [made]}))
    assert read_settings({}, release).selftests == (made,)
    assert read_settings({"JUDGE": "openai:other"}, release).selftests == ()
