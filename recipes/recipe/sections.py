"""The sections of a recipe as typed data: the images, the teacher, training, evaluation and release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from recipes.recipe.typed_yaml import Number
from t2i_judge.served.prices import TEACHER

CLOSED = ConfigDict(extra="forbid")  # a key that is not known is an error
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=CLOSED)
class ScenesData:
    """Rendered scenes of simulated generators (`recipes/scenes`); numbers of images."""

    source: Literal["scenes"] = "scenes"
    train_images: int = 2000
    new_prompts_images: int = 400
    new_pairs_images: int = 400


@dataclass(frozen=True, config=CLOSED)
class TableData:
    """A CSV, JSONL or parquet of the user's own images.

    Attributes:
        path: file of the table.
        images: folder where relative image paths start, and that all images lie below; None: the table's folder.
        prompt, image, generator, reference_image: names of its columns; None: the table has no such column.
        id: column of the images' names; None: an image is called by its path below the images folder.
        attributes: text columns by which results are split (family, category, difficulty).
        split: column with the split of an image (`recipes.recipe.items.SPLITS`); None: `held_out` decides.
        held_out: share of *prompts* (not images) kept for evaluation as split `new_prompts`; 0 keeps none.
        held_out_min: fewest prompts to hold out; None: 10, or about a third if there are few.
        broken_images: whether an image that cannot be decoded stops the build, or is left out and counted.
        strip_metadata: remove EXIF, GPS and XMP from the images before anybody sees them. Your files stay as they are.
        limit: use only this many rows from the start.
    """

    path: str
    source: Literal["table"] = "table"
    images: str | None = None
    prompt: str = "prompt"
    image: str = "image"
    generator: str | None = "generator"
    reference_image: str | None = None
    id: str | None = None
    attributes: tuple[str, ...] = ()
    split: str | None = None
    held_out: Share = 0.1
    held_out_min: Positive | None = None
    broken_images: Literal["refuse", "skip"] = "refuse"
    strip_metadata: bool = False
    limit: int | None = None


@dataclass(frozen=True, config=CLOSED)
class T2IEvalData:
    """The paper's own labels, T2I-Eval-Distill-GPT-4o (arXiv 2411.15488): its JSON and the folder of its images."""

    path: str
    images: str
    source: Literal["t2i_eval"] = "t2i_eval"
    held_out: Share = 0.0
    held_out_min: Positive | None = None
    limit: int | None = None


@dataclass(frozen=True, config=CLOSED)
class Teacher:
    """The model that labels. `base_url` None means OpenAI. `server` names a module to run with `python -m`, which
    prints its address.

    Attributes:
        max_tokens: most tokens of a reply, thinking included; None: as many as each kind of reply takes.
        parameters: more arguments of the chat API, such as `reasoning_effort: low`.
        max_image_side: scale larger images down to this many pixels per side before sending.
        api_key_env: names of variables with keys, NAME or BASE_URL=NAME for one server, also for judges' servers.
        batch: use OpenAI's Batch API: half the price, replies within a day.
    """

    model: str = TEACHER
    base_url: str | None = None
    server: str | None = None
    protocol: Literal["structured", "staged"] = "structured"
    temperature: Number = 0.0
    max_tokens: Positive | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    max_image_side: Positive | None = None
    api_key_env: tuple[str, ...] = ()
    concurrency: Positive = 32
    max_cost: Number | None = None
    batch: bool = False


@dataclass(frozen=True, config=CLOSED)
class Adapter:
    """peft's `LoraConfig`; `target_modules` is a regex over module names, or a list of name endings."""

    target_modules: str | tuple[str, ...]
    r: Positive = 16
    alpha: Positive = 32
    dropout: Share = 0.05


@dataclass(frozen=True, config=CLOSED)
class Quantization:
    """transformers' `BitsAndBytesConfig`; `skip_modules` are kept in full precision, matched from the name's start.

    Judges are loaded in it wherever they judge. `rounded`: the base's weights are rounded to it already, so that judges
    are loaded as they are, without bitsandbytes, and are the same.
    """

    skip_modules: tuple[str, ...]
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True
    compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    rounded: bool = False


@dataclass(frozen=True, config=CLOSED)
class AspectWeights:
    """Factor, by aspect, on the mixture weight of the samples about one question (answer, explain, score)."""

    appearance: Number = 1.0
    intrinsic: Number = 1.0
    relationship: Number = 1.0
    concept_preservation: Number = 1.0
    prompt_following: Number = 1.0


@dataclass(frozen=True, config=CLOSED)
class Mixture:
    """How often each sub-task's samples are seen: 2 is twice, 0.5 a random half, 0 never.

    `decompose_every_image`: a decomposition counts once per image, not once per prompt. This is for sets in which a few
    short prompts have most of the images and would hardly be seen among the long ones.
    """

    decompose: Number = 1.0
    answer: Number = 1.0
    explain: Number = 1.0
    score: Number = 1.0
    summarise: Number = 1.0
    summarise_overall: Number = 1.0
    decompose_every_image: bool = False
    aspects: AspectWeights = field(default_factory=AspectWeights)


@dataclass(frozen=True, config=CLOSED)
class Rebalance:
    """Resampling by score bins: every bin is brought to the `percentile` of the bin sizes (T2I-Eval's strategy)."""

    percentile: Annotated[Number, Field(ge=0, le=100)] = 75.0
    seed: int = 3407


@dataclass(frozen=True, config=CLOSED)
class Training:
    """trl's `SFTConfig`, by its own names; `max_steps` -1 trains `num_train_epochs`, warm-up below 1 is a share.

    `per_device_train_batch_size` counts rows: packed rows of one image each, or single samples without packing.
    `segments_per_row` is the most questions that share one image's prefix. With `length_normalization` a token weighs
    its answer's length to the power of minus that: 0 is trl's mean over tokens, 1 a mean over answers.
    """

    max_steps: int = -1
    num_train_epochs: Annotated[Number, Field(gt=0)] = 1.0
    per_device_train_batch_size: Positive = 8
    gradient_accumulation_steps: Positive = 1
    learning_rate: Annotated[Number, Field(gt=0)] = 1e-4
    lr_scheduler_type: str = "cosine"
    warmup_steps: Number = 0.05
    weight_decay: Number = 0.0
    adam_beta2: Number = 0.999
    max_grad_norm: Number = 1.0
    gradient_checkpointing: bool = True
    bf16: bool = True
    segments_per_row: Positive = 32
    length_normalization: Annotated[Number, Field(ge=0, le=1)] = 0.0
    max_length: int | None = None
    logging_steps: Positive = 10
    save_steps: Positive = 200
    save_total_limit: int = 2
    dataloader_num_workers: int = 0


@dataclass(frozen=True, config=CLOSED)
class Seeds:
    """Every source of randomness has its own seed, so that changing one leaves the others alone."""

    data: int = 0
    mixture: int = 3407
    training: int = 42
    evaluation: int = 0


@dataclass(frozen=True, config=CLOSED)
class Goals:
    """Spearman with the reference ratings that a recipe promises, by split; None promises nothing.

    The promise is about the overall scores; for a personalised recipe, about each of the two axes.
    """

    new_prompts: Number | None = None
    new_pairs: Number | None = None


@dataclass(frozen=True, config=CLOSED)
class RatingsTable:
    """People's ratings, if `ratings: FILE` is not enough: what `recipes.recipe.rating_files` cannot find by itself.

    Attributes:
        path: CSV, JSONL, JSON or parquet; a Label Studio export; an export of the Space, or its annotations' folder.
        scale: lowest and highest score that people could give, mapped linearly to the aspect's own scale. None: they
            are on that scale, 0 to 10 (0 to 4 for the two axes of personalised images).
        id: column (Label Studio: data field) with the image's id or file name.
        annotator, aspect, score, question, explanation: columns of a long table.
        annotators: columns of a wide table, each with one person's overall scores.
        aspects: column of a wide table (Label Studio: control) -> its aspect.
        values: word -> score, if people chose words.
    """

    path: str
    scale: tuple[Number, Number] | None = None
    id: str | None = None
    annotator: str | None = None
    aspect: str | None = None
    score: str | None = None
    question: str | None = None
    explanation: str | None = None
    annotators: tuple[str, ...] = ()
    aspects: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True, config=CLOSED)
class Evaluation:
    """How judges are measured after training.

    Attributes:
        direct: also train the direct baseline (one question, "rate this image"; same base, images, steps, rank).
        ratings: people's ratings of held-out images, a file or a `RatingsTable`; None: those of the data source, if
            any.
        judges: names of more judges to measure (clip:..., dino:..., dreambench+openai:MODEL, ...). A served one without
            an address is asked at the teacher's.
        max_tokens, parameters: for the served ones among them, as for the teacher.
        runs: number of times that each served one is asked. Agreement is reported with mean and sd over the runs.
        limit: most images to judge per split; None: all.
        subtask_images: images per split on which the student also writes, to score each sub-task.
        selftest_items: held-out images on which the judge is attacked before it is released (`t2i-judge selftest`).
        resamples: bootstrap resamples, clustered by prompt.
        goals: split -> Spearman that the recipe promises of the distilled judge. Missed goals are printed.
    """

    direct: bool = True
    ratings: str | RatingsTable | None = None
    judges: tuple[str, ...] = ()
    max_tokens: Positive | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    runs: Positive = 1
    limit: int | None = None
    subtask_images: int = 100
    selftest_items: Positive = 24
    resamples: Positive = 2000
    goals: Goals = field(default_factory=Goals)


@dataclass(frozen=True, config=CLOSED)
class RepositoryNames:
    """Names on the Hub, without the namespace, for a recipe that does not want those of `recipes.hub.repositories`."""

    bench: str | None = None
    distill: str | None = None
    model: str | None = None


@dataclass(frozen=True, config=CLOSED)
class Release:
    """The terms of the release, and facts for its cards that no program can know.

    Attributes:
        license_model, license_data, license_base: the Hub's names of the licences, or `other`.
        license_name, license_link: name and address of a licence that is `other`.
        teacher_terms: licence or terms of what the teacher writes.
        baseline: the judge that the distilled one must beat before it is published.
        image_provenance, personal_data, intended_use, limits: sentences for the cards.
        simulated: whether the data is simulated, so that nobody takes it for people's.
        decline_out_of_domain: whether the judge declines images unlike those it was trained on.
        space_judge: the served judge (openai:MODEL@URL) with which the Space opens if its hardware is too small for the
            released one. Its key is a secret of the Space; its address is public.
        allow: name of a check of the gate whose findings are accepted -> the reason, which the card states.
        untrained: hardly anything is trained, so a judge that fails on every image, or in its selftest, is no fault of
            the release. The card says so.
        publish_base: publish the base, which is a folder of your own, with the adapter.
        repositories: names of the repositories; None: t2i-judge[-bench|-distill]-RECIPE.
        default_judge: metric and demo of the namespace go over to this recipe, whichever recipe has them.
    """

    license_model: str = "apache-2.0"
    license_data: str | None = None
    license_base: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    teacher_terms: str | None = None
    baseline: Literal["direct", "base"] = "direct"
    image_provenance: str | None = None
    personal_data: str | None = None
    intended_use: str | None = None
    limits: str | None = None
    simulated: bool = False
    decline_out_of_domain: bool = False
    space_judge: str | None = None
    allow: dict[str, str] = field(default_factory=dict)
    untrained: bool = False
    publish_base: bool = False
    repositories: RepositoryNames = field(default_factory=RepositoryNames)
    default_judge: bool = False
