"""A chat with a model on this machine is greedy, whatever the model's own files ask for."""

from __future__ import annotations

from typing import Any

from t2i_judge.local.chat import LocalChat
from t2i_judge.local.weights import find_weights
from t2i_judge.served.wire import Message


def test_a_generation_config_asks_for_no_more_than_one_reply() -> None:
    """A million beams were a million copies of what the model remembers."""
    chat = LocalChat.load(find_weights(None))
    rows: list[int] = []

    def note(_: Any, __: Any, given: dict[str, Any]) -> None:
        rows.append(len(given["input_ids"]))

    model = chat._model
    plain = chat._generate([Message("user", "a red cat")], 3)
    model.generation_config.num_beams = model.generation_config.num_return_sequences = 50
    model.register_forward_pre_hook(note, with_kwargs=True)
    assert chat._generate([Message("user", "a red cat")], 3).text == plain.text
    assert rows and set(rows) == {1}
