"""Embedding baselines as judges: CLIP-I, CLIP-T, CLIPScore (`clip:CHECKPOINT`) and DINO-I (`dino:CHECKPOINT`).

`clip:` reads CLIP, SigLIP, SigLIP 2 and reward models of CLIP's shape. `dino:` reads models that give an image one
embedding: the class token, or the pooled features of models without one (ResNet). A model with missing weights is
refused.

All are cosines of L2-normalised embeddings of transformers' own classes, in [-1, 1]; CLIPScore is 2.5 * max(cos, 0)
in [0, 2.5] (Hessel et al., arXiv 2104.08718, equation 1). CLIP-I and DINO-I compare the generated image with the
reference image (DreamBooth, arXiv 2208.12242, section 5.2), CLIP-T with the prompt.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, faults
from ..inputs.images import ImageError, encode_image, load_image
from ..local.intact import check_safetensors, contents
from ..local.patterns import refuse_own_adapter
from ..local.trial import EMBEDDING, ModelFiles, tried_out
from ..local.whole import check_loaded, check_model
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
_NO_CODE = {"trust_remote_code": False}  # without it, transformers asks at the terminal whether to run a stranger's
_LOADED: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True, "dtype": "float32", **_NO_CODE}
FAMILIES = ("clip", "siglip", "siglip2")  # types of checkpoints that clip: reads
# Reward models in CLIP's shape -> whose processor they were trained with; they carry none.
REWARDS = {"yuvalkirstain/PickScore_v1": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"}


def is_reward(checkpoint: str | None, told: bool) -> bool:
    """Whether a checkpoint's overall score is its reward: if the user says so (`told`), or we know it."""
    return told or checkpoint in REWARDS


class _NothingToCompare(Exception):
    """There is no prompt or no reference image to compare with."""


class EmbeddingJudge(Judge):
    """Shared by the baselines: images are loaded safely, embedded without gradients and compared by cosine.

    Args:
        name: the judge's name, for its `info`.
        checkpoint: a Hub repository or a folder with safetensors.
        revision: a Hub revision; None is the default branch.
    """

    score_range = COSINE_RANGE

    def __init__(self, name: str, checkpoint: str, revision: str | None = None, processor: str | None = None) -> None:
        from transformers import AutoImageProcessor
        from transformers.utils.hub import resolve_revision

        at = resolve_revision(checkpoint, revision)  # what is looked at is what is loaded
        options: dict[str, Any] = {"revision": at} if at else {}
        files = (processor, {}) if processor else (checkpoint, options)
        if Path(checkpoint).is_dir():
            check_safetensors(Path(checkpoint))
        try:
            described = tried_out(ModelFiles(checkpoint, at, (files[0], files[1].get("revision")), kind=EMBEDDING))
            check_model(checkpoint, at, described.model)
            refuse_own_adapter(checkpoint, at)
            self.model = self._load(checkpoint, options).eval()
            self.processor = AutoImageProcessor.from_pretrained(files[0], backend="pil", **_NO_CODE, **files[1])
            self._load_texts(files[0], files[1])
        except UserError:
            raise
        except faults() as error:  # transformers and its tokenizers raise many kinds over files that do not fit
            raise UserError(
                f"{name} cannot be loaded: {(str(error).strip() or repr(error)).splitlines()[0]}",
                "The checkpoint is missing, or has another architecture",
                "Name a Hub repository or a folder with config.json, preprocessor_config.json, the tokenizer's files "
                "(or name another folder for these with --processor, in Python processor=) and *.safetensors",
            ) from error
        self._check_steady(name)
        if Path(checkpoint).is_dir():
            revision = contents(Path(checkpoint))
        else:
            revision = revision or getattr(at, "resolved", None)
        super().__init__(JudgeInfo(name, "local", checkpoint, revision))

    def _load_texts(self, source: str, options: dict[str, Any]) -> None:
        """What reads texts, for judges that do."""
        return

    def _check_steady(self, name: str) -> None:
        """Raise `UserError` for a model whose result is random: ViT-MAE hides patches at random."""
        import torch
        from PIL import Image

        picture = Image.effect_noise((64, 64), 60).convert("RGB")
        with torch.inference_mode():
            first, second = self._embed(picture), self._embed(picture)
        if not torch.allclose(first, second, atol=1e-4) or not bool(torch.isfinite(first).all()):
            what = type(self.model).__name__
            raise UserError(
                f"{name} gives a different embedding each time",
                f"{what} masks parts of the image at random",
                "Name another model",
            )

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
        from ..progress import Progress

        return [
            self._judge(item)
            for item in Progress(items, disable=not progress, leave=False, desc=self.info.name, unit="image")
        ]

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
        except faults() as error:  # too long for the model, too narrow for its processor, out of memory
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

        model, report = AutoModel.from_pretrained(checkpoint, **_LOADED, **options)
        if model.main_input_name != "pixel_values":
            raise ValueError(f"{type(model).__name__} reads {model.main_input_name}, not only images")
        names = [name.rpartition(".")[2] for name, _ in model.named_parameters()]
        self.has_class_token = bool({"cls_token", "class_embedding"} & set(names))
        unused = ("pooler.",) if self.has_class_token else ()
        check_loaded(model, report, unused)
        return model

    def _embed(self, image: Image.Image) -> torch.Tensor:
        output = self.model(**self._pixels(image))
        if self.has_class_token:
            return _unit(output.last_hidden_state[0, 0])
        if getattr(output, "pooler_output", None) is None:
            raise UserError(
                f"{type(self.model).__name__} has neither a class token nor a pooled embedding",
                "No embedding describes the whole image",
                "Use a ViT or a ResNet, such as facebook/dino-vits16",
            )
        return _unit(output.pooler_output[0].flatten())

    def _compare(self, image: Image.Image, prompt: str, reference: Image.Image | None) -> dict[str, Any]:
        if reference is None:
            raise _NothingToCompare("DINO-I compares with a reference image, and this item has none")
        cosine = float(self._embed(image) @ self._embed(reference))
        return {"scores": {CONCEPT_PRESERVATION: cosine}, "score_range": COSINE_RANGE}


class ClipJudge(EmbeddingJudge):
    """CLIP-I and CLIP-T with a reference image; without one, `overall` is CLIPScore, or the reward.

    Args:
        reward: the checkpoint was trained on people's choices (PickScore, arXiv 2305.01569): `overall` is its logit,
            exp(logit_scale) * cos, of the prompt as it stands.
    """

    def __init__(self, name: str, checkpoint: str, revision: str | None = None, **options: Any) -> None:
        self.reward = is_reward(checkpoint, bool(options.pop("reward", False)))
        options["processor"] = options.get("processor") or REWARDS.get(checkpoint)
        super().__init__(name, checkpoint, revision, **options)

    def _load(self, checkpoint: str, options: dict[str, Any]) -> Any:
        from transformers import AutoConfig, AutoModel

        kind = AutoConfig.from_pretrained(checkpoint, **_NO_CODE, **options).model_type
        if kind not in FAMILIES:
            raise ValueError(f"its type is {kind}; clip: supports {', '.join(FAMILIES)}")
        model, report = AutoModel.from_pretrained(checkpoint, **_LOADED, **options)
        check_loaded(model, report)
        return model

    def _load_texts(self, source: str, options: dict[str, Any]) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(source, **_NO_CODE, **options)
        self.longest = int(self.model.config.text_config.max_position_embeddings)

    def _embed(self, image: Image.Image) -> torch.Tensor:
        return _unit(_features(self.model.get_image_features(**self._pixels(image)))[0])

    def _embed_text(self, text: str) -> tuple[torch.Tensor, str | None]:
        whole = self.tokenizer(text)["input_ids"]
        # SigLIP was trained on texts filled up to their full length, and without a mask.
        filled: Any = "max_length" if self.model.config.model_type.startswith("siglip") else False
        tokens = self.tokenizer(text, padding=filled, truncation=True, max_length=self.longest, return_tensors="pt")
        taken = {name: tokens[name] for name in (("input_ids",) if filled else tokens)}
        note = f"CLIP read the first {self.longest} of {len(whole)} tokens" if len(whole) > self.longest else None
        return _unit(_features(self.model.get_text_features(**taken))[0]), note

    def _overall(self, picture: torch.Tensor, prompt: str) -> dict[str, Any]:
        text, note = self._embed_text(prompt if self.reward else CLIPSCORE_PREFIX + prompt)
        cosine = float(picture @ text)
        if self.reward:
            scale = float(self.model.logit_scale.exp())
            return {"scores": {OVERALL: scale * cosine}, "score_range": (-scale, scale), "rationale": note}
        value = CLIPSCORE_WEIGHT * max(cosine, 0.0)
        return {"scores": {OVERALL: value}, "score_range": (0.0, CLIPSCORE_WEIGHT), "rationale": note}

    def _compare(self, image: Image.Image, prompt: str, reference: Image.Image | None) -> dict[str, Any]:
        if not isinstance(prompt, str) or not prompt.strip():
            raise _NothingToCompare("the prompt is empty or is not text")
        picture = self._embed(image)
        if reference is None:
            return self._overall(picture, prompt)
        text, note = self._embed_text(prompt)
        scores = {
            CONCEPT_PRESERVATION: float(picture @ self._embed(reference)),
            PROMPT_FOLLOWING: float(picture @ text),
        }
        return {"scores": scores, "score_range": COSINE_RANGE, "rationale": note}


def clip_judge(name: JudgeName, processor: str | None = None, reward: bool = False) -> ClipJudge:
    """The judge named `clip:CHECKPOINT[@REVISION]`. Raises `UserError` if it cannot be loaded.

    `processor`: repository or folder of processor and tokenizer, for a checkpoint without their files.
    """
    return ClipJudge(name.label, str(name.model), name.revision, processor=processor, reward=reward)


def dino_judge(name: JudgeName, processor: str | None = None) -> DinoJudge:
    """The judge named `dino:CHECKPOINT[@REVISION]`. Raises `UserError` if it cannot be loaded."""
    return DinoJudge(name.label, str(name.model), name.revision, processor)


def _features(output: Any) -> torch.Tensor:
    features: torch.Tensor = getattr(output, "pooler_output", output)
    return features


def _unit(vector: torch.Tensor) -> torch.Tensor:
    length: torch.Tensor = vector.norm()
    return vector / length
