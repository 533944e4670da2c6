"""`ocr:rapidocr` reads the text in an image and compares it with what the prompt quotes. No GPU, key or download.

Each text that the prompt wants (`texts.quoted`) is a question. Its answer is the best passage that was read, its score
10 * (1 - edit distance / length). The models are PP-OCRv6, which come with the package rapidocr, on onnxruntime.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..errors import UserError, quoted
from ..inputs.images import ImageError, encode_image, load_image
from ..records import Answer, JudgeInfo, Judgement, Question, Status, Usage
from ..scoring import aspect_scores
from ..texts.passages import Line, Passage, best_passage, is_too_much, reading_order, tokens
from ..texts.quoted import quoted_texts
from .base import Candidate, Judge
from .names import JudgeName

if TYPE_CHECKING:
    from PIL import Image

READER = "rapidocr"
_TOP = 10.0
_NARROWEST = 8  # times as long as wide
_CLEAR = 0.5  # similarity from which a passage counts as an attempt at the wanted text
NOTHING_QUOTED = "the prompt quotes no text, and ocr: judges only quoted text"
TOO_MUCH = "the picture shows, and the prompt quotes, more text than can be compared"


class OCRJudge(Judge):
    """Reads text in pictures.

    Args:
        name: the judge's name, for its `info`.
        ignore_case: treat capital and small letters as equal.
    """

    def __init__(self, name: str, ignore_case: bool = False) -> None:
        version = _version()
        label = name + (" (case ignored)" if ignore_case else "")
        super().__init__(JudgeInfo(label, "ocr", READER, version, "case" if not ignore_case else "no case"))
        self.ignore_case = ignore_case
        self._reader: Any = None

    def _score(self, items: Sequence[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        """There is nothing to ask or to explain."""
        from ..progress import Progress

        return [
            self._judge(item)
            for item in Progress(items, disable=not progress, leave=False, desc=self.info.name, unit="image")
        ]

    def _judge(self, item: Candidate) -> Judgement:
        start = time.perf_counter()
        if not isinstance(item.prompt, str) or not (wanted := quoted_texts(item.prompt)):
            return self._failed(item, Status.SKIPPED, NOTHING_QUOTED)
        try:
            lines = self.read(item.image)
            image_id = item.image_id or encode_image(item.image).sha256
        except ImageError as error:
            return self._failed(item, Status.IMAGE_ERROR, error.reason)
        except Exception as error:  # a picture of one line of pixels, say: the reader's own libraries raise many kinds
            return self._failed(item, Status.SKIPPED, f"{READER} cannot take it: {' '.join(str(error).split())[:300]}")
        read = [token for line in lines for token in tokens(line.text)]
        if is_too_much(wanted, read):
            return self._failed(item, Status.SKIPPED, TOO_MUCH)
        passages = [best_passage(text, read, self.ignore_case) for text in wanted]
        questions = tuple(_question(number, text) for number, text in enumerate(wanted, 1))
        kept = _kept(lines)
        answers = tuple(_answer(question, passage, kept) for question, passage in zip(questions, passages))
        return Judgement(
            image_id=image_id,
            prompt=item.prompt,
            judge=self.info,
            scores=aspect_scores(questions, answers),
            questions=questions,
            answers=answers,
            rationale=_unasked(read, passages),
            usage=Usage(seconds=time.perf_counter() - start),
        )

    def read(self, image: Any) -> list[Line]:
        """Lines of text in an image, in reading order. Raises `ImageError` if it is not an image."""
        import numpy as np

        if self._reader is None:
            self._reader = _load_reader()
        pixels = np.asarray(_not_a_strip(load_image(image)))[:, :, ::-1]
        result = self._reader(np.ascontiguousarray(pixels))
        if result.txts is None or result.boxes is None:
            return []
        lines = [
            Line(text, tuple((float(x), float(y)) for x, y in box), float(confidence))
            for text, box, confidence in zip(result.txts, result.boxes, result.scores)
        ]
        return reading_order(lines)


def _not_a_strip(image: Image.Image) -> Image.Image:
    """A strip with white below or beside it: the reader scales the short side up, and a line of pixels fills memory."""
    from PIL import ImageOps

    least = math.ceil(max(image.size) / _NARROWEST)
    width, height = max(image.width, least), max(image.height, least)
    border = (0, 0, width - image.width, height - image.height)
    return ImageOps.expand(image, border, "white") if any(border) else image


def _version() -> str:
    try:
        return metadata.version(READER)
    except metadata.PackageNotFoundError as error:
        raise UserError(
            "The judge ocr:rapidocr is not installed", "It is an optional package", "Run: pip install 't2i-judge[ocr]'"
        ) from error


def _load_reader() -> Any:
    """The reader with the models that its package carries, quiet."""
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise UserError(
            "The package rapidocr cannot be loaded", str(error).splitlines()[0], "Run: pip install 't2i-judge[ocr]'"
        ) from error
    return RapidOCR(params={"Global.log_level": "critical"})


def _question(number: int, text: str) -> Question:
    return Question(f"q{number}", "intrinsic", (text,), f'Does the picture show the text "{text}"?', text)


def _answer(question: Question, passage: Passage, kept: str) -> Answer:
    return Answer(
        question.id,
        text=passage.text or "no text",
        matches=passage.similarity == 1.0,
        score=_TOP * passage.similarity,
        explanation=kept,
    )


def _kept(lines: Sequence[Line]) -> str:
    """The whole reading as JSON: {"read": [{"text", "confidence", "box"}]}."""
    entries = [
        {"text": line.text, "confidence": round(line.confidence, 4), "box": [[round(c) for c in p] for p in line.box]}
        for line in lines
    ]
    return json.dumps({"read": entries}, ensure_ascii=False)


def words_read(answer: Answer) -> str | None:
    """The whole reading that an answer of this judge keeps, in words; None for another judge's answer."""
    try:
        lines = json.loads(answer.explanation or "")["read"]
        return "read: " + (" · ".join(str(line["text"]) for line in lines) or "nothing")
    except (ValueError, KeyError, TypeError):
        return None


def _unasked(read: Sequence[str], passages: Sequence[Passage]) -> str | None:
    """Text in the picture that nobody asked for; None without any."""
    asked = {n for passage in passages if passage.similarity >= _CLEAR for n in range(passage.first, passage.last)}
    rest = " ".join(token for number, token in enumerate(read) if number not in asked)
    return f'Text that the prompt does not ask for: "{rest}"' if rest else None


def ocr_judge(name: JudgeName, ignore_case: bool = False) -> OCRJudge:
    """The judge named `ocr:rapidocr`. Raises `UserError` for another reader, or if it is not installed."""
    if name.model != READER:
        raise UserError(f"There is no judge {quoted(str(name))}", "There is one OCR engine", f"Use ocr:{READER}")
    return OCRJudge(name.label, ignore_case)
