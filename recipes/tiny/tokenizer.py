"""The vocabulary of `tiny`: byte-level BPE like MiniCPM-V-2.6's, trained on the world's texts, same special tokens.

Every text can be encoded; words of the world are one token each. Digits stand alone, as in Qwen2's own tokenizer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recipes.scenes import personalised, personalised_rules, rules, world
from recipes.tiny import corpus, exercises
from t2i_judge.decompose import to_lines
from t2i_judge.prompts import DIRECT, SUMMARY_SCORE, TASKS, student_prompt
from t2i_judge.records import ALL_ASPECTS

VOCABULARY_SIZE = 1024
SPECIAL_TOKENS = (
    "<unk>",  # the image placeholder
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    *("<image>", "</image>", "<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<point>", "</point>"),
    *("<slice>", "</slice>", "<image_id>", "</image_id>"),
    *(f"<|reserved_special_token_{number}|>" for number in range(6)),
)


def texts(number: int = 600, seed: int = 0) -> Iterable[str]:
    """Texts with every word that the base or a judge of this world may read or write."""
    yield from ["You are a helpful assistant.", "system\nuser\nassistant\n", DIRECT, SUMMARY_SCORE, *ALL_ASPECTS] * 50
    rng, names = random.Random(seed), list(world.GENERATORS)
    for index in range(number):
        prompt = world.sample_prompt(rng, "train")
        scene = world.simulate(prompt, names[index % len(names)], rng)
        questions = rules.decompose(prompt.text)
        answers = [rules.answer(scene, question) for question in questions]
        yield to_lines(questions)
        for task in TASKS:
            yield student_prompt(task, questions[0], prompt=prompt.text, aspect=questions[-1].aspect)
        yield from (f"{answer.text} {answer.text}\n{answer.explanation}" for answer in answers)
        yield from (str(summary.explanation) for summary in rules.summarise(questions, answers).values())
        yield from (f"{word}\n {word}" for word in (*world.SHAPES, *world.COLORS, *corpus.GRADES, *world.DEFECTS))
        yield from _personalised_texts(rng, index)
        segments = corpus.picture_segments(scene, rng, 20)
        segments += corpus.reference_segments(scene, prompt.entities[0], rng, 3)
        segments += [exercises.text_segment(prompt, (" and",), rng) for _ in range(5)]
        yield from ("\n".join(segment) for segment in segments)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a base that is there (its vocabulary is part of what was learnt), else a new one."""
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").is_file():
        return build_tokenizer()
    return AutoTokenizer.from_pretrained(folder)


def _personalised_texts(rng: random.Random, index: int) -> Iterable[str]:
    """What is asked and said about one personalised picture."""
    task, methods = personalised.sample_task(rng, "train"), list(personalised.METHODS)
    scene = personalised.simulate(task, methods[index % len(methods)], rng)
    questions = personalised_rules.decompose(task.text)
    yield to_lines(questions)
    for question in questions:
        yield str(personalised_rules.answer(scene, task.reference, question).explanation)


def build_tokenizer() -> Any:
    """A `Qwen2Tokenizer` with its own small vocabulary; the same on every run."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    empty = Qwen2Tokenizer(vocab={"<unk>": 0}, merges=[])
    raw = Tokenizer(models.BPE())
    raw.normalizer, raw.decoder = normalizers.NFC(), decoders.ByteLevel()
    raw.pre_tokenizer = empty.backend_tokenizer.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE, initial_alphabet=alphabet, min_frequency=5, show_progress=False
    )
    raw.train_from_iterator(texts(), trainer)
    model: Any = json.loads(raw.to_str())["model"]
    vocabulary = dict(sorted(model["vocab"].items(), key=lambda item: item[1]))
    for token in SPECIAL_TOKENS:
        vocabulary[token] = len(vocabulary)
    merges: Any = [tuple(merge) for merge in model["merges"]]
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        unk_token="<unk>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[4:]),
    )
