"""The book of comparisons: what a server that is away does to it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from t2i_judge.boards.comparisons import Book, Pairing
from t2i_judge.boards.items import BoardItem
from t2i_judge.errors import Stopped
from t2i_judge.judges.loading import load_judge


def item(path: Path, generator: str, level: int) -> BoardItem:
    Image.new("L", (8, 8), level).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return BoardItem(f"{generator}/{level}", generator, "a cat", "0", str(path), digest)


@pytest.mark.parametrize("away", [True, False])
def test_a_server_that_goes_away_is_no_comparison_that_failed(tmp_path, served, away):
    """Each pair was noted as failed, and not asked about again."""

    def respond(request, n):
        return served.failure(503) if away or "image_url" in str(request) else served.completion("OK")

    served.respond = respond
    pairs = [Pairing(item(tmp_path / f"a{n}.png", "a", n), item(tmp_path / f"b{n}.png", "b", 9 + n)) for n in range(2)]
    judge = load_judge(f"pair+openai:m@{served.url}", attempts=2)
    book = Book(tmp_path / "comparisons.jsonl")
    if away:
        with pytest.raises(Stopped, match="answers no call"):
            book.compare(judge, pairs)
        assert Book(tmp_path / "comparisons.jsonl").missing(pairs) == pairs
    else:
        book.compare(judge, pairs)
        assert [line["status"] for line in book.lines] == ["transport", "transport"]
    judge.close()
