"""The embedded world: reproducible, never blank, honest about what is held out, and of known difficulty."""

from __future__ import annotations

import ast
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from recipes.scenes import annotators, latent, render, rules, world
from t2i_judge import decompose, scoring

SCENES = Path(world.__file__).parent


def simulated(n: int, split: str) -> list[tuple[world.Prompt, world.Scene]]:
    """`n` prompts of a split with their scenes, the generators taking turns; nothing is drawn."""
    rng, names = random.Random(f"test/{split}"), list(world.GENERATORS)
    pairs = []
    for index in range(n):
        prompt = world.sample_prompt(rng, split)
        pairs.append((prompt, world.simulate(prompt, names[index % len(names)], rng)))
    return pairs


def teacher_scores(prompt: world.Prompt, scene: world.Scene) -> dict[str, float | None]:
    questions = rules.decompose(prompt.text)
    return scoring.aspect_scores(questions, [rules.answer(scene, question) for question in questions])


def test_same_seed_same_pixels_and_every_sample_stands_alone():
    first, again, fewer = (render.make_scenes(n, 3, "new_prompts") for n in (14, 14, 5))
    for (prompt, name, scene, image), (prompt2, name2, scene2, image2) in zip(first, again):
        assert (prompt, name, scene, image.tobytes()) == (prompt2, name2, scene2, image2.tobytes())
    assert [sample[3].tobytes() for sample in fewer] == [sample[3].tobytes() for sample in first[:5]]
    assert render.make_scenes(1, 4, "new_prompts")[0][3].tobytes() != first[0][3].tobytes()


def test_no_generator_ever_leaves_the_picture_blank():
    for _, name, scene, image in render.make_scenes(140, 5):
        pixels = np.asarray(image, np.int16)
        assert image.size == (render.SIZE, render.SIZE) and scene.groups
        differs = (np.abs(pixels - pixels[0, 0]).max(axis=-1) > 40).mean()
        assert differs > 0.003, f"{name}: {scene}"


def test_splits_are_disjoint_and_training_never_shows_a_held_out_pair():
    prompts = {split: {prompt.text for prompt, _ in simulated(300, split)} for split in world.SPLITS}
    for a, b in itertools.combinations(world.SPLITS, 2):
        assert not prompts[a] & prompts[b]
    for split in ("train", "new_prompts"):
        shown = {(group.shape, group.color) for _, scene in simulated(600, split) for group in scene.groups}
        assert not shown & world.HELD_OUT_PAIRS
        assert len(shown) == len(world.SHAPES) * len(world.COLORS) - len(world.HELD_OUT_PAIRS)
    for prompt, _ in simulated(50, "new_pairs"):
        assert any((entity.shape, entity.color) in world.HELD_OUT_PAIRS for entity in prompt.entities)


def test_an_unknown_split_or_generator_is_refused():
    prompt = world.sample_prompt(random.Random(0))
    with pytest.raises(ValueError, match="new_pairs"):
        world.sample_prompt(random.Random(0), "nowhere")
    with pytest.raises(KeyError):
        world.simulate(prompt, "nobody", random.Random(0))


def test_generators_differ_in_faithfulness_and_in_looks():
    means = {}
    for name in world.GENERATORS:
        rng = random.Random(name)
        prompts = [world.sample_prompt(rng) for _ in range(150)]
        scores = [latent.quality(prompt, world.simulate(prompt, name, rng)) for prompt in prompts]
        means[name] = {aspect: np.mean([score[aspect] for score in scores]) for aspect in ("appearance", "intrinsic")}
    assert len(means) >= 6
    assert means["faithful-ugly"]["intrinsic"] > 8 > 6 > means["faithful-ugly"]["appearance"]
    assert means["pretty-wrong"]["appearance"] > means["faithful-ugly"]["appearance"] + 1
    assert means["pretty-wrong"]["intrinsic"] < means["faithful-ugly"]["intrinsic"] - 2


@pytest.mark.parametrize("split", world.SPLITS)
def test_teacher_follows_the_latent_quality_but_is_not_it(split):
    pairs = simulated(400, split)
    teacher = [teacher_scores(*pair)["overall"] for pair in pairs]
    true = [latent.quality(*pair)["overall"] for pair in pairs]
    assert 0.85 <= spearmanr(teacher, true).statistic <= 0.97


@pytest.mark.parametrize("aspect", ["appearance", "intrinsic", "relationship", "overall"])
def test_annotators_agree_as_people_do(aspect):
    pairs, votes = simulated(400, "new_prompts"), {}
    for name in annotators.ANNOTATORS:
        rng = random.Random(name)
        ratings = [annotators.rate(prompt, scene, name, rng) for prompt, scene in pairs]
        assert all("\n" not in row["explanation"] and row["explanation"] for rows in ratings for row in rows)
        votes[name] = [row["score"] for rows in ratings for row in rows if row["aspect"] == aspect]
    assert len(votes) >= 3
    for a, b in itertools.combinations(votes, 2):
        assert 0.6 <= spearmanr(votes[a], votes[b]).statistic <= 0.85, (a, b)


def test_renderer_and_latent_quality_do_not_know_the_teacher():
    allowed = {"world", "render", "latent"}
    for module in allowed:
        for node in ast.walk(ast.parse((SCENES / f"{module}.py").read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("t2i_judge"), module
                assert node.level == 0 or node.module in allowed, (module, node.module)


def test_a_scene_and_its_latent_quality_lie_in_their_ranges():
    for prompt, scene in simulated(200, "train"):
        for aspect, score in latent.quality(prompt, scene).items():
            assert (score is None) == (aspect == "relationship" and not prompt.relations)
            assert score is None or 0 <= score <= 10
        for group in scene.groups:
            left, top, right, bottom = group.box
            assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
            assert len(group.copies) == group.count


def test_the_teacher_reads_every_prompt_from_its_text():
    for prompt, _ in simulated(300, "train") + simulated(100, "new_pairs"):
        questions = rules.decompose(prompt.text)
        assert decompose.from_lines(decompose.to_lines(questions)) == questions
        stated = {(q.entities, q.expected) for q in questions if q.expected not in (None, "yes")}
        for entity in prompt.entities:
            named = {rules.COUNT_WORDS[entity.count], entity.color, entity.size, entity.texture} - {None}
            assert named <= {expected for entities, expected in stated if entities == (entity.shape,)}
        for relation in prompt.relations:
            pair = (prompt.entities[relation.subject].shape, prompt.entities[relation.other].shape)
            assert (pair, relation.kind) in stated


@pytest.mark.parametrize(
    "text", ["", "a photo of a dog", "a red circle and", "two red circle to the left of", "circle"]
)
def test_the_teacher_refuses_what_is_no_prompt_of_the_world(text):
    with pytest.raises(ValueError, match="not a prompt"):
        rules.decompose(text)


def test_a_faultless_scene_scores_ten_and_a_missing_entity_zero():
    prompt = world.Prompt(
        (world.Entity("circle", "red", 2, "large"), world.Entity("star", "blue")), (world.Relation(0, 1, "left"),)
    )
    faultless = world.place(
        [
            world.Group("circle", "red", "large", "plain", 2, "blur", 0.0),
            world.Group("star", "blue", "small", "plain", 1, "blur", 0.0),
        ],
        [(0, 0), (1, 0)],
        random.Random(0),
    )
    assert set(teacher_scores(prompt, faultless).values()) == {10.0}
    assert min(latent.quality(prompt, faultless).values()) > 9.9
    lacking = world.Scene(faultless.groups[:1])
    assert teacher_scores(prompt, lacking)["relationship"] == 0.0
    answers = {q.text: rules.answer(lacking, q) for q in rules.decompose(prompt.text)}
    assert answers["What color is the star?"].score == 0 and answers["What color is the star?"].matches is False
    assert answers["Is there a star?"].explanation == "There is no star."


def test_summaries_are_scored_by_the_aggregate_and_only_where_asked():
    for prompt, scene in simulated(60, "train"):
        questions = rules.decompose(prompt.text)
        answers = [rules.answer(scene, question) for question in questions]
        summaries = rules.summarise(questions, answers)
        scores = scoring.aspect_scores(questions, answers)
        assert set(summaries) == {aspect for aspect, score in scores.items() if score is not None}
        assert all(summaries[aspect].score == scores[aspect] and summaries[aspect].explanation for aspect in summaries)


def test_a_reference_shows_one_clean_entity_whatever_was_asked():
    entity = world.Entity("star", "yellow", 3, "small", "dotted")
    one, same = (render.render_reference(entity, random.Random(1), 112) for _ in range(2))
    assert one.tobytes() == same.tobytes() and one.size == (112, 112)
    pixels = np.asarray(one, np.int16)
    painted = np.argwhere(np.abs(pixels - pixels[0, 0]).max(axis=-1) > 60)
    assert abs(painted.mean(axis=0) - 56).max() < 6
