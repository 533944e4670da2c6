"""What servers say when they refuse: in which shape, about what, and how much room they say there is."""

from __future__ import annotations

import pytest

from t2i_judge.served.rejections import Rejection, retry_after


@pytest.mark.parametrize(
    ("body", "text", "param"),
    [
        ({"error": {"message": "no", "code": "bad", "param": "seed"}}, "bad: no", "seed"),
        ({"error": "plain words"}, "plain words", None),
        ({"detail": "Not Found"}, "Not Found", None),
        (
            {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs", "input": "temperature"}]},
            "seed: Extra inputs",
            "seed",
        ),
        ({"message": "a\nb\x1b[31mc"}, "a b [31mc", None),
        ([{"error": {"message": "Gemini's", "code": 400}}], "Gemini's", None),
        ("<html>gateway</html>", "<html>gateway</html>", None),
        (None, "no message", None),
        ({"error": {"message": "x " * 2000}}, None, None),
    ],
)
def test_every_shape_of_an_error_is_one_line(body, text, param):
    rejection = Rejection.of(400, body)
    assert rejection.param == param
    assert rejection.text == text or (text is None and len(rejection.text) <= 500)


@pytest.mark.parametrize(
    ("words", "asked", "room"),
    [
        (
            "This model's maximum context length is 2048 tokens. However, you requested 4096 output tokens and your "
            "prompt contains at least 10 input tokens, for a total of at least 4106 tokens.",
            4096,
            2038,
        ),
        (
            "max_tokens is too large: 8192. This model's maximum context length is 4096 tokens and your request has "
            "500 input tokens (8192 > 4096 - 500).",
            8192,
            3596,
        ),
        (
            "This model's maximum context length is 8,192 tokens. However, you requested 10000 tokens (2000 in the "
            "messages, 8000 in the completion).",
            8000,
            6192,
        ),
        ("max_tokens is too large: 100000. This model supports at most 16384 completion tokens.", 100_000, 16_384),
        ("Requested tokens (5000) exceed context window of 4096", 4900, None),
    ],
)
def test_the_room_for_a_reply_is_worked_out_where_the_message_lets_it(words, asked, room):
    assert Rejection(400, words).room(asked) == room


@pytest.mark.parametrize(("code", "status"), [(429, 429), ("503", 503), ("²", 200), ("٤٠٤", 200), ("4" * 5000, 200)])
def test_a_status_within_a_reply_is_three_plain_digits(code, status):
    assert Rejection.of(200, {"error": {"message": "no", "code": code}}).status == status


def test_what_ends_a_run_is_told_from_what_ends_a_call():
    assert Rejection(400, "You exceeded your current quota: insufficient_quota").no_money
    assert Rejection(402, "").no_money
    assert Rejection(404, "No endpoints found that support image input").about_the_model
    assert Rejection(500, "image input is not supported").no_images
    assert not Rejection(400, "the image is too small").no_images
    assert Rejection(400, "data_inspection_failed: may contain inappropriate content").filtered
    assert not Rejection(429, "Rate limit reached for requests").no_money


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"retry-after-ms": "inf"}, 0),
        ({"retry-after": "9" * 20}, 1e7),
    ],
)
def test_seconds_to_wait(headers, seconds):
    assert retry_after(headers) == seconds
