"""Finds the single tokens that spell a word such as "yes" or "three", in any case and with or without spaces."""

from __future__ import annotations

from typing import Any

YES, NO = "yes", "no"
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def spellings(answer: str) -> tuple[str, ...]:
    """The words for an answer: the answer itself, lowercased, and for a number up to ten both word and digits."""
    word = answer.strip().strip(".").lower()
    if word in _NUMBERS:
        return word, str(_NUMBERS.index(word))
    if word.isdecimal() and int(word) < len(_NUMBERS):
        return str(int(word)), _NUMBERS[int(word)]
    return (word,)


def tokens_of(tokenizer: Any, words: tuple[str, ...]) -> dict[int, str]:
    """Token id -> its text, for the tokens that are one of the words when stripped and lowercased. May be empty.

    Args:
        tokenizer: of the model.
        words: in lower case.
    """
    special = set(tokenizer.all_special_ids)
    spelled: dict[int, str] = {}
    for token, number in tokenizer.get_vocab().items():
        # Vocabularies write ASCII as it is; decoding every token of one would take seconds.
        if number not in special and any(word in token.lower() or not word.isascii() for word in words):
            text = tokenizer.decode([number])
            if text.strip().lower() in words:
                spelled[number] = text
    return dict(sorted(spelled.items()))
