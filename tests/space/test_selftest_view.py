"""The Space shows what the selftest of its judge found, with whatever stands in it as text."""

from __future__ import annotations

import json

from selftest_view import selftest_table
from settings import read_settings
from tests.recipes.synthetic import selftest_of


def test_the_verdict_and_every_attack_are_shown_as_text():
    shown = str(selftest_table(selftest_of("<script>tiny", "ab" * 32, 0.9)))
    assert "<b>UNTRUSTED</b>" in shown and "&lt;script&gt;tiny" in shown and "<script>" not in shown
    assert shown.count('<th scope="row">') == 2 and "+0.90" in shown and '<td class="tj-bad"><b>fail</b>' in shown


def test_it_is_that_of_the_release_s_own_judge(tmp_path):
    release, made = tmp_path / "release.json", selftest_of("tiny", "ab" * 32)
    release.write_text(json.dumps({"judge": "tiny", "selftest": made}))
    assert read_settings({}, release).selftest == made
    assert read_settings({"JUDGE": "openai:other"}, release).selftest is None
