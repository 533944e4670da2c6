"""Shared-prefix packing for TRL's unmodified SFTTrainer: one row per image, with all its questions in one sequence.

    enable_shared_prefix(model)
    SFTTrainer(model, data_collator=SharedPrefixCollator(processor), args=SFTConfig(
        remove_unused_columns=False, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}, ...), ...)

Loss and gradients are those of TRL's own collator with `assistant_only_loss=True` on the unpacked samples.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t2i_judge.errors import UserError
from t2i_judge.inputs.images import load_image
from t2i_judge.local.chats import Chats, encode
from t2i_judge.local.packing import enable_shared_prefix, pack

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SharedPrefixCollator", "enable_shared_prefix"]


@dataclass
class SharedPrefixCollator:
    """Rows of `images` and `segments` -> a packed batch; only what assistants say is learnt.

    A row has `images` (a list, empty for text-only tasks; read as judges read them, `t2i_judge.inputs.images`) and
    `segments` (a list of conversations about them, each a list of messages); or `messages`, one conversation, as in
    TRL's own datasets.

    Attributes:
        processor: of the model, with a chat template that marks `{% generation %}`.
        max_length: tokens of a packed row; several images share a row when they fit. None: the longest image of the
            batch. Images and answers are never cut.

    Returns a batch of input_ids, attention_mask, position_ids, segment_ids, prefix_ids and labels, (rows, length)
    each, and the image tensors of the model. The model must have been through `enable_shared_prefix`.
    """

    processor: Any
    max_length: int | None = None

    def __post_init__(self) -> None:
        if not re.search(r"{%-?\s*generation\b", self.processor.chat_template or ""):
            raise UserError(
                "The processor's chat template has no {% generation %} marker",
                "This marker says which tokens the assistant wrote",
                "Use a training template (trl.chat_template_utils.get_training_chat_template)",
            )

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The packed batch of these rows."""
        batch = [
            Chats([load_image(image) for image in row.get("images") or []], row.get("segments") or [row["messages"]])
            for row in rows
        ]
        groups, features = encode(self.processor, batch)
        return pack(groups, self.processor.tokenizer.pad_token_id, self.max_length).tensors | features
