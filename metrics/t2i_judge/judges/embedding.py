"""Embedding baselines as judges: CLIP-I, CLIP-T, CLIPScore (`clip:CHECKPOINT`) and DINO-I (`dino:CHECKPOINT`).

All are cosines of L2-normalised embeddings of transformers' own classes, in [-1, 1]; CLIPScore is 2.5 * max(cos, 0)
in [0, 2.5] (Hessel et al., arXiv 2104.08718, equation 1). CLIP-I and DINO-I compare the generated image with the
reference image (DreamBooth, arXiv 2208.12242, section 5.2), CLIP-T with the prompt.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..inputs.images import ImageError, encode_image, load_image
from ..records import OVERALL, PERSONALISED_ASPECTS, JudgeInfo, Judgement, Status, Usage
from .base import Candidate, Judge
from .names import JudgeName

if TYPE_CHECKING:
    import torch
    from PIL import Image

CONCEPT_PRESERVATION, PROMPT_FOLLOWING = PERSONALISED_ASPECTS
COSINE_RANGE = (-1.0, 1.0)
CLIPSCORE_WEIGHT = 2.5
CLIPSCORE_PREFIX = "A photo depicts "


class _NothingToCompare(Exception):
    """There is no prompt or no reference image; says so."""


class EmbeddingJudge(Judge):
    """What the baselines share: images are loaded safely, embedded without gradients, compared by cosine.

    Args:
        name: the judge's name, for its `info`.
        checkpoint: a Hub repository or a folder with safetensors.
        revision: a Hub revision; None is the default branch.
    """

    score_range = COSINE_RANGE

    def __init__(self, name: str, checkpoint: str, revision: str | None = None) -> None:
        from transformers import AutoImageProcessor

        options: dict[str, Any] = {"revision": revision} if revision else {}
        try:
            self.processor = AutoImageProcessor.from_pretrained(checkpoint, backend="pil", **options)
            self.model = self._load(checkpoint, options).eval()
        except (OSError, ValueError) as error:
            raise UserError(
                f"{name} cannot be loaded: {str(error).splitlines()[0]}",
                "the checkpoint is missing, or is not of this kind",
                "name a Hub repository or a folder with config.json, preprocessor_config.json and model.safetensors",
            ) from error
        commit = revision or getattr(self.model.config, "_commit_hash", None)
        super().__init__(JudgeInfo(name, "local", checkpoint, commit))

    @abstractmethod
    def _load(self, checkpoint: str, options: dict[str, Any]) -> Any:
        """The model in float32, safetensors only."""

    @abstractmethod
    def _compare(self, image: Image.Image, prompt: str, reference: Image.Image | None) -> dict[str, Any]:
        """Fields of the judgement (scores, score_range, rationale); raises `_NothingToCompare`."""

    @abstractmethod
    def _embed(self, image: Image.Image) -> torch.Tensor:
        """The image's unit vector, shape (dimension,)."""

    def _score(self, items: Sequence[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        """There is nothing to ask or to explain."""
        from tqdm import tqdm

        return [self._judge(item) for item in tqdm(items, disable=not progress, desc=self.info.name, unit="image")]

    def _judge(self, item: Candidate) -> Judgement:
        import torch

        start = time.perf_counter()
        try:
            item = replace(item, image_id=item.image_id or encode_image(item.image).sha256)
            reference = load_image(item.reference) if item.reference is not None else None
            with torch.inference_mode():
                fields = self._compare(load_image(item.image), item.prompt, reference)
        except ImageError as error:
            return self._failed(item, Status.IMAGE_ERROR, error.reason)
        except _NothingToCompare as error:
            return self._failed(item, Status.SKIPPED, str(error))
        except Exception as error:  # too long for the model, too narrow for its processor, out of memory
            reason = f"the model cannot take it: {' '.join(str(error).split())[:300]}"
            return self._failed(item, Status.SKIPPED, reason)
        usage = Usage(calls=1, seconds=time.perf_counter() - start, money=0.0)
        return Judgement(str(item.image_id), item.prompt, self.info, usage=usage, **fields)

    def _pixels(self, image: Image.Image) -> dict[str, torch.Tensor]:
        return dict(self.processor(images=image, return_tensors="pt"))


class DinoJudge(EmbeddingJudge):
    """DINO-I: cosine of the class tokens of generated and reference image, as concept preservation."""

    def _load(self, checkpoint: str, options: dict[str, Any]) -> Any:
        from transformers import AutoModel

        model = AutoModel.from_pretrained(checkpoint, use_safetensors=True, **options)
        if model.main_input_name != "pixel_values":
            raise ValueError(f"{type(model).__name__} reads {model.main_input_name}, not images alone")
        return model

    def _embed(self, image: Image.Image) -> torch.Tensor:
        return _unit(self.model(**self._pixels(image)).last_hidden_state[0, 0])

    def _compare(self, image: Image.Image, prompt: str, reference: Image.Image | None) -> dict[str, Any]:
        if reference is None:
            raise _NothingToCompare("DINO-I compares with a reference image, and there is none")
        cosine = float(self._embed(image) @ self._embed(reference))
        return {"scores": {CONCEPT_PRESERVATION: cosine}, "score_range": COSINE_RANGE}


class ClipJudge(EmbeddingJudge):
    """CLIP-I and CLIP-T where there is a reference image, CLIPScore as `overall` where there is none."""

    def _load(self, checkpoint: str, options: dict[str, Any]) -> Any:
        from transformers import AutoTokenizer, CLIPModel

        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint, **options)
        return CLIPModel.from_pretrained(checkpoint, use_safetensors=True, **options)

    def _embed(self, image: Image.Image) -> torch.Tensor:
        return _unit(_features(self.model.get_image_features(**self._pixels(image)))[0])

    def _embed_text(self, text: str) -> tuple[torch.Tensor, str | None]:
        longest = self.model.config.text_config.max_position_embeddings
        whole = self.tokenizer(text)["input_ids"]
        tokens = self.tokenizer(text, truncation=True, max_length=longest, return_tensors="pt")
        note = f"CLIP read the first {longest} of {len(whole)} tokens" if len(whole) > longest else None
        return _unit(_features(self.model.get_text_features(**tokens))[0]), note

    def _compare(self, image: Image.Image, prompt: str, reference: Image.Image | None) -> dict[str, Any]:
        if not isinstance(prompt, str) or not prompt.strip():
            raise _NothingToCompare("the prompt is empty, or no text")
        picture = self._embed(image)
        if reference is None:
            text, note = self._embed_text(CLIPSCORE_PREFIX + prompt)
            value = CLIPSCORE_WEIGHT * max(float(picture @ text), 0.0)
            return {"scores": {OVERALL: value}, "score_range": (0.0, CLIPSCORE_WEIGHT), "rationale": note}
        text, note = self._embed_text(prompt)
        scores = {
            CONCEPT_PRESERVATION: float(picture @ self._embed(reference)),
            PROMPT_FOLLOWING: float(picture @ text),
        }
        return {"scores": scores, "score_range": COSINE_RANGE, "rationale": note}


def clip_judge(name: JudgeName) -> ClipJudge:
    """The judge of a name `clip:CHECKPOINT[@REVISION]`. Raises `UserError` where it cannot be loaded."""
    return ClipJudge(name.label, str(name.model), name.revision)


def dino_judge(name: JudgeName) -> DinoJudge:
    """The judge of a name `dino:CHECKPOINT[@REVISION]`. Raises `UserError` where it cannot be loaded."""
    return DinoJudge(name.label, str(name.model), name.revision)


def _features(output: Any) -> torch.Tensor:
    features: torch.Tensor = getattr(output, "pooler_output", output)
    return features


def _unit(vector: torch.Tensor) -> torch.Tensor:
    length: torch.Tensor = vector.norm()
    return vector / length
