"""Keeps a model's control tokens out of texts that are data: a prompt cannot end its turn, or stand for an image.

Their names do not lead to all of them: of Gemma 3's and Llama 3.2's turn markers, tokenizers say only that they are
special; of DeepSeek's, and of the marks of Qwen's thoughts and tools, only that they were added to the vocabulary. So
are words, tags of HTML and runs of spaces with other models, and prompts may have them. An added token that is not
special is therefore a control token where the chat template writes it, or where bars enclose it (`<|fim_prefix|>`);
and never where it has no sign at its end, as a word has none, or no letter, as `\n\n` has none.
"""

from __future__ import annotations

import re
from typing import Any

_UNSEEN = "\u200b"  # a zero-width space
_IN_BARS = re.compile(r"<[|\uff5c].+[|\uff5c]>", re.DOTALL)


class Controls:
    """The control tokens of a processor: all that it, its tokenizer or its chat template reads as more than text.

    Args:
        processor: of a vision-language model.
    """

    def __init__(self, processor: Any) -> None:
        self._tokenizer = tokenizer = processor.tokenizer
        template = f"{getattr(processor, 'chat_template', None)} {getattr(tokenizer, 'chat_template', None)}"
        added = [
            str(token)
            for token in tokenizer.added_tokens_decoder.values()
            if token.special or _is_control(str(token), template)
        ]
        named = [value for name, value in vars(processor).items() if name.endswith("_token") and isinstance(value, str)]
        self.tokens = sorted({*tokenizer.all_special_tokens, *added, *named} - {""}, key=len, reverse=True)
        # What no token spells becomes the unknown token, in any text.
        self._ids = {*tokenizer.convert_tokens_to_ids(self.tokens)} - {tokenizer.unk_token_id, None}

    def defused(self, text: str) -> str:
        """The text with a zero-width space inside each control token, or in the place of one of a single character.

        Raises:
            ValueError: the tokenizer still reads one, because it knows it by other spellings too.
        """
        for token in self.tokens:
            if token in text:
                text = text.replace(token, token[0] + _UNSEEN + token[1:] if len(token) > 1 else _UNSEEN)
        if not self._ids.isdisjoint(self._tokenizer(text, add_special_tokens=False)["input_ids"]):
            raise ValueError("its text spells a control token of the model")
        return text


def _is_control(token: str, template: str) -> bool:
    """Whether a token that is not special is more than text in chats of this template; see above."""
    if _IN_BARS.fullmatch(token):
        return True
    bare = token.strip()
    word = not bare or (bare[0].isalnum() and bare[-1].isalnum())
    return token in template and not word and any(map(str.isalnum, bare))
