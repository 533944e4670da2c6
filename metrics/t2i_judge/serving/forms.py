"""What a form says of its letters, looked at before it is parsed.

Starlette and Gradio decode a form's names and texts by whatever codec of Python its Content-Type names. Some of those
take time by the square of the text's length (punycode: minutes for a megabyte, in the thread that answers everybody),
and some make text that no file can hold (utf-7: halves of surrogate pairs). Neither of them follows what a part's own
Content-Type says.
"""

from __future__ import annotations

from collections.abc import Iterable

from python_multipart.multipart import parse_options_header

_OURS = (b"utf-8", b"utf8")


def is_utf8(content_types: Iterable[str]) -> bool:
    """Whether a request with these Content-Type headers is in UTF-8, which it is, too, where it does not say.

    They are read as the parsers read them; of two, either may be the one that counts.
    """
    options = [parse_options_header(each)[1] for each in content_types]
    return all(each.get(b"charset", b"utf-8").lower() in _OURS for each in options)
