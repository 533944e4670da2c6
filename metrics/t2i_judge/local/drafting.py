"""What is likely to be written next, as it was written before in the same place.

What a judge writes is regular: the lines of a decomposition, "as asked". So a step of writing may feed a few guessed
tokens behind the last one and keep those that the model chooses itself: one step writes several tokens, and they are
the same tokens (speculative decoding, arXiv 2211.17192; here the draft is looked up and needs no second model).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..kept import Kept

_CONTEXTS = (12, 5, 2)  # tokens that are looked up, the longest first: the longer, the surer
_KEPT = 50_000  # contexts: of some hundred texts
MOST = 8  # tokens of a draft


class Drafts:
    """Remembers what came after what, the latest where there were several. Not safe to use from several threads."""

    def __init__(self) -> None:
        self._next: Kept[tuple[int, ...], int] = Kept(number=_KEPT)

    def note(self, tokens: Sequence[int]) -> None:
        """The last of these tokens was written behind the others."""
        for context in _CONTEXTS:
            self._next[tuple(tokens[-context - 1 : -1])] = tokens[-1]

    def after(self, tokens: Sequence[int], most: int) -> list[int]:
        """At most so many tokens that may come next; fewer where that has not been seen."""
        text = list(tokens)
        for _ in range(most):
            known = (self._next.get(tuple(text[-context:])) for context in _CONTEXTS)
            token = next((token for token in known if token is not None), None)
            if token is None:
                break
            text.append(token)
        return text[len(tokens) :]
