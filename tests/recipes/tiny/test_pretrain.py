"""The base's pre-training: perception only, reproducible, and able to go on after being killed."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from recipes.scenes import render, rules, world
from recipes.tiny import architecture, corpus, exercises, pretrain, stream
from recipes.tiny.tokenizer import SPECIAL_TOKENS, build_tokenizer, load_tokenizer
from recipes.training.quantization import round_to_four_bits
from t2i_judge.local.chats import Chats, encode
from t2i_judge.local.minicpmv.registration import register
from t2i_judge.local.packing import pack
from t2i_judge.prompts import DIRECT, STUDENT

SMALL = stream.Mixture(pictures=2, pairs=1, texts=1, picture_segments=3, pair_segments=2, text_segments=2)
PLAN = pretrain.Schedule(
    see_steps=2,
    see_batch=2,
    tell_steps=2,
    tell_mixture=SMALL,
    place_steps=2,
    place_mixture=replace(SMALL, stage="place"),
    retell_steps=4,
    retell_mixture=replace(SMALL, stage="retell"),
    relate_steps=2,
    relate_mixture=replace(SMALL, stage="relate", of_three=0.5),
    settle_steps=2,
    settle_mixture=replace(SMALL, stage="settle"),
    checkpoint_every=2,
)


@pytest.fixture(autouse=True)
def muon_at_a_fifth(monkeypatch):
    """On a processor without bfloat16, five rounds of Newton and Schulz take most of a training of a few steps."""
    monkeypatch.setattr(torch.optim, "Muon", partial(torch.optim.Muon, ns_steps=1))


@pytest.fixture(scope="module")
def processor():
    return architecture.build_processor(build_tokenizer())


@pytest.fixture(scope="module")
def speller(processor):
    return stream.Speller(processor)


def told(number: int) -> list[corpus.Segment]:
    """Segments of every kind about `number` scenes."""
    rng, segments = random.Random(0), []
    for _ in range(number):
        prompt, scene = stream.sample_scene(rng)
        segments += [told for stage in corpus.WEIGHTS for told in corpus.picture_segments(scene, rng, 8, stage)]
        segments += corpus.reference_segments(scene, stream.sample_reference(scene, rng), rng, 3)
        segments += [
            exercises.text_segment(prompt, (" and", " of"), rng, s) for s in exercises.TEXT_WEIGHTS for _ in range(4)
        ]
    return segments


def test_the_vocabulary_spells_any_text_and_the_worlds_words_in_one_token(processor, speller):
    tokenizer = processor.tokenizer
    for text in ("two red circles.", "Ünïcödé 的 \t 42 <b>|", "Is there a circle?\nExpected: yes\nScore 0-9:"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    for word in (*world.SHAPES, *world.COLORS, *corpus.GRADES, *"0123456789", stream.EMPTY):
        speller.word(word)
    ids = tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS))
    assert ids == list(range(ids[0], len(tokenizer)))
    config = architecture.build_model(tokenizer).config
    assert [config.image_start_id, config.slice_end_id] == tokenizer.convert_tokens_to_ids(["<image>", "</slice>"])


def test_building_the_vocabulary_twice_gives_the_same(processor):
    assert build_tokenizer().get_vocab() == processor.tokenizer.get_vocab()


_SHAPE_NUMBERS = "[123](, [123])?"


def test_nothing_of_the_judge_is_told():
    asked_by_the_judge = {text.split("{")[0].split()[0] for text in rules.QUESTION_TEXTS.values()}
    for instruction, answer in told(150):
        assert not re.search(r"\?|\bScore|Expected|Answer:|Explain|Summarise|Rate", instruction + answer)
        assert not re.search(r"\d", instruction)
        ordinals = rf"^{_SHAPE_NUMBERS}\. |(,| -) {_SHAPE_NUMBERS}$" if instruction.startswith("Take apart,") else "^$"
        assert not re.search(r"\d", re.sub(ordinals, "", answer, flags=re.MULTILINE))  # digits count shapes only
        assert instruction.split()[0] not in asked_by_the_judge
        assert all(template.split("{")[0] not in instruction for template in (DIRECT, STUDENT["decompose"]))
        assert "as asked" not in answer and "|" not in answer


def test_descriptions_are_true_of_the_scene():
    rng = random.Random(3)
    nouns = {world.plural(shape, count): shape for shape in world.SHAPES for count in (1, 2)}
    for _ in range(100):
        _, scene = stream.sample_scene(rng)
        for instruction, answer in corpus.picture_segments(scene, rng, 12):
            if named := re.fullmatch(r"Name the (color|size|texture) of the (\w+)\.", instruction):
                group = scene.find(nouns[named[2]])
                assert answer == (f"{getattr(group, named[1])}." if group else "nothing.")
            if instruction == "Describe the picture.":
                assert answer.count(";") == len(scene.groups) - 1
                assert all(group.color in answer and corpus.damage(group) in answer for group in scene.groups)


def test_relations_are_told_of_groups_that_lie_clearly_beside_or_above_each_other():
    rng = random.Random(4)
    nouns = {world.plural(shape, count): shape for shape in world.SHAPES for count in (1, 2)}
    seen = set()
    for _ in range(200):
        _, scene = stream.sample_scene(rng)
        for instruction, answer in corpus.picture_segments(scene, rng, 12, "retell"):
            if placed := re.fullmatch(r"Place the (\w+) against the (\w+)\.", instruction):
                a, b = (nouns[noun] for noun in placed.groups())
                assert answer == f"{scene.relation(a, b) or 'nothing'}."
                seen.add(answer)
                if (first := scene.find(a)) and (second := scene.find(b)):
                    along, across = (abs(p - q) for p, q in zip(first.center, second.center))
                    assert abs(along - across) > 0.12
    assert seen == {"left.", "right.", "above.", "below.", "nothing."}


def test_a_group_is_labelled_with_the_sides_on_which_it_lies():
    group = world.Group("circle", "red", "large", "dotted", 1, "noise", 0.5, center=(0.2, 0.45))
    assert corpus.sides(group) == ("left",) and {"left", "noise", "dotted"} <= set(corpus.words_of(group))
    assert corpus.sides(replace(group, center=(0.7, 0.9))) == ("right", "bottom")


def test_facts_say_what_the_text_says_and_nothing_else():
    rng = random.Random(5)
    for _ in range(200):
        prompt = world.sample_prompt(rng)
        instruction, answer = exercises.text_segment(prompt, (" and",), rng, "retell")
        if not instruction.startswith("Take apart,"):
            continue
        told = [value for entity in prompt.entities for value in (entity.color, entity.size, entity.texture) if value]
        told += [corpus.COUNT_NAMES[entity.count] for entity in prompt.entities]
        told += [relation.kind for relation in prompt.relations]
        values = {*world.COLORS, *world.SIZES, *world.TEXTURES, *corpus.COUNT_NAMES.values(), *world.RELATIONS}
        assert sorted(word for word in re.findall(r"\w+", answer) if word in values) == sorted(told)


def test_two_pictures_are_compared_as_they_are():
    rng, alike = random.Random(6), {"same": True, "the same": True, "alike": True, "right": True}
    alike |= {"other": False, "another": False, "not alike": False, "wrong": False}
    seen = set()
    for _ in range(100):
        _, scene = stream.sample_scene(rng)
        reference = stream.sample_reference(scene, rng)
        for instruction, answer in corpus.reference_segments(scene, reference, rng, 8):
            if len(named := set(re.findall("shape|color|texture", instruction))) != 1:
                continue
            (trait,) = named
            shapes = [shape for shape in world.SHAPES if shape in instruction]
            group = scene.find(shapes[0]) if shapes else corpus.most_alike(scene, reference)
            verdict = alike[answer.removesuffix(".").removesuffix(f" {trait}")]
            assert verdict == (corpus.traits(group)[trait] == corpus.traits(reference)[trait])
            seen.add(verdict)
    assert seen == {True, False}


def test_a_shape_is_looked_for_and_seen_where_it_is():
    rng = random.Random(7)
    for _ in range(100):
        _, scene = stream.sample_scene(rng)
        for instruction, answer in corpus.picture_segments(scene, rng, 12, "retell"):
            if answer == "seen.":
                assert any(group.shape in instruction for group in scene.groups)


def test_no_held_out_pair_is_ever_shown_or_told():
    rng = random.Random(1)
    for _ in range(400):
        _, scene = stream.sample_scene(rng)
        assert not {(group.shape, group.color) for group in scene.groups} & world.HELD_OUT_PAIRS
        reference = stream.sample_reference(scene, rng)
        assert (reference.shape, reference.color) not in world.HELD_OUT_PAIRS
    pairs = [f"{color} {plural}" for shape, color in world.HELD_OUT_PAIRS for plural in {shape, world.plural(shape, 2)}]
    named = re.compile(rf"\b({'|'.join(pairs)})\b")
    assert [segment for segment in told(600) if named.search(" ".join(segment))] == []


def test_a_segment_is_spelt_as_the_chat_template_spells_it(processor, speller):
    image = render.render(stream.sample_scene(random.Random(0))[1], random.Random(0))
    segment = ("Describe the circle.", "a large red circle.")
    for images in ([], [image], [image, image]):
        parts = [{"type": "image"}] * len(images) + [{"type": "text", "text": segment[0]}]
        answer = {"role": "assistant", "content": [{"type": "text", "text": segment[1]}]}
        (wanted,), features = encode(processor, [Chats(images, [[{"role": "user", "content": parts}, answer]])])
        ours = speller.group(len(images), [segment])
        length = len(ours.segments[0])
        assert list(ours.prefix) == list(wanted.prefix)
        assert list(ours.segments[0]) == list(wanted.segments[0][:length])
        assert list(ours.labels[0]) == list(wanted.labels[0][:length])
        if images:
            assert torch.equal(stream.pixels(images), torch.as_tensor(features["pixel_values"]))


def test_patches_are_labelled_by_what_lies_on_them():
    group = world.Group("circle", "red", "large", "dotted", 1, "noise", 0.5)
    scene = world.place([group], [(0, 0)], random.Random(2))
    owner = stream.cover(scene)
    x, y = scene.groups[0].center
    assert owner[int(y * 8), int(x * 8)] == 0 and (owner == -1).sum() > 40
    labels = stream.dense_labels(scene).reshape(8, 8, -1)
    assert labels[int(y * 8), int(x * 8)].tolist() == [1, 1, 2, 3, 1, 3, 1 + round(4.5)]
    assert (labels[owner == -1] == 0).all()


def test_batches_depend_on_seed_and_number_alone(speller):
    first, again, other = (stream.text_batch(speller, 0, k, SMALL) for k in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["pixel_values"], other["pixel_values"])
    image_tokens = first["input_ids"] == speller.image_id
    assert image_tokens.sum() == 64 * len(first["target_sizes"])
    assert (first["tag_labels"] >= 0).sum() == 64 * (SMALL.pictures + SMALL.pairs)
    assert not (first["tag_labels"][~image_tokens] >= 0).any()


def test_nouns_of_what_is_asked_are_labelled_with_the_cells_of_their_shapes(processor, speller):
    scene = world.Scene(
        tuple(
            world.Group(shape, "red", "large", "plain", 1, "blur", 0.0, center=center)
            for shape, center in (("star", (0.2, 0.2)), ("circle", (0.8, 0.5)), ("cross", (0.5, 0.9)))
        )
    )
    asked = (
        ("From the stars to the circle:", "left."),  # both places are known before the answer
        ("Name the place of the cross.", "bottom."),
        ("Place the star against the square.", "nothing."),  # there is no square
    )
    groups = [speller.group(1, list(asked))]
    packed = pack(groups, processor.tokenizer.pad_token_id)
    cells = stream.cell_labels(packed, groups, [scene], speller)[0]
    words = [processor.tokenizer.decode([token]).strip() for token in packed.tensors["input_ids"][0]]
    labelled = [(words[at], *cells[at].tolist()) for at in (cells != -100).any(-1).nonzero().flatten().tolist()]
    ends = [at - 1 for at in (packed.tensors["labels"][0] != -100).nonzero().flatten().tolist() if words[at] == "left"]
    assert [found[:2] for found in labelled if found[1] >= 0] == [
        ("stars", 0),
        ("circle", 5),
        ("cross", 7),
        ("star", 0),
    ]
    assert (cells[:, 1:] != -100).any(-1).nonzero().flatten().tolist() == ends
    assert cells[ends[0], 1:].tolist() == [0, 5]


def test_nouns_of_texts_are_labelled_with_what_the_text_says_of_them(processor, speller):
    entities = (world.Entity("star", "red", 2, "small"), world.Entity("circle", "blue", 1, None, "striped"))
    prompt = world.Prompt(entities, (world.Relation(0, 1, "left"),))
    asked = (
        (f"Name the color of the star in: {prompt.text}", "red."),  # named before the text: nothing can be known yet
        (f"List the shapes in: {prompt.text}", "star, circle."),
        ("Copy:\nred star", "red star"),  # no text
    )
    groups = [speller.group(0, list(asked))]
    packed = pack(groups, processor.tokenizer.pad_token_id)
    labels = stream.fact_labels(packed, groups, [[prompt, prompt, None]], speller)[0]
    words = [processor.tokenizer.decode([token]).strip() for token in packed.tensors["input_ids"][0]]

    def labelled(which):
        places = (labels[:, which] != -100).any(-1).nonzero().flatten().tolist()
        values = [[choices[index] for choices, index in zip(stream.FACTS.values(), labels[at, which])] for at in places]
        return [(words[at], *known) for at, known in zip(places, values)]

    star, circle = (2, "red", "small", None), (1, "blue", None, "striped")
    named = [("stars", *star, 0, None, None), ("circle", *circle, 1, "star", "left")]
    assert labelled(0) == named + named
    assert labelled(1) == [("star", *star, 0, "circle", "left"), ("circle", *circle, 1, None, None)]


def test_three_groups_are_drawn_on_the_share_of_pictures_that_is_wanted(speller, monkeypatch):
    shown, render_one = [], render.render

    def rendered(scene, rng, side):
        shown.append(len(scene.groups))
        return render_one(scene, rng, side)

    monkeypatch.setattr(render, "render", rendered)
    for number in range(8):
        stream.text_batch(speller, 0, number, replace(SMALL, stage="relate", pictures=4, pairs=0, of_three=0.5))
    pictures = [shown[start : start + 4] for start in range(0, len(shown), 4)]
    assert all(numbers[:2] == [3, 3] for numbers in pictures)
    assert {1, 2} & {number for numbers in pictures for number in numbers[2:]}


def test_queries_start_at_their_own_places(processor):
    from t2i_judge.local.minicpmv.vision import sincos_positions

    model = architecture.build_model(processor.tokenizer)
    resampler = model.model.resampler
    values = resampler.ln_kv(resampler.kv_proj(torch.randn(1, 64, model.config.vision_config.hidden_size)))
    keys = values + sincos_positions(128, 8, 8, torch.device("cpu")).flatten(0, 1)
    query, key, _ = resampler.attn.in_proj_weight.chunk(3)
    weights = ((resampler.ln_q(resampler.query) @ query.T) @ (keys[0] @ key.T).T / 128**0.5).softmax(-1)
    nearest = weights.argmax(-1).numpy()
    distance = np.abs(nearest // 8 - np.arange(64) // 8) + np.abs(nearest % 8 - np.arange(64) % 8)
    assert distance.max() <= 2 and (distance == 0).mean() > 0.6


def test_the_language_model_starts_out_going_on_with_what_came_before(processor):
    language_model = architecture.build_model(processor.tokenizer).model.language_model.eval()
    language_model.set_attn_implementation("eager")
    odd = torch.randperm(700, generator=torch.Generator().manual_seed(0))[:40]
    with torch.no_grad():
        first, second, *_ = language_model(torch.cat([odd, odd])[None], output_attentions=True).attentions
    previous = first[0].diagonal(-1, 1, 2).mean(-1)
    continued = second[0, :, 40:, 1:41].diagonal(0, 1, 2)[:, :-1].mean(-1)  # at a token: what followed it before
    assert (previous[:2] > 0.9).all() and (previous[2:] < 0.5).all()
    assert (continued[:2] > 0.25).all() and (continued[2:] < 0.05).all()  # .32 to .50 by the tokens drawn, and .01


def test_killed_after_a_checkpoint_it_ends_where_it_would_have_ended(tmp_path, monkeypatch):
    pretrain.pretrain(PLAN, tmp_path / "whole", tmp_path / "work-whole")
    write = pretrain.checkpoint

    def killed(stage, trainers, step, work):
        write(stage, trainers, step, work)
        if (stage.name, step) == ("retell", 2):
            raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(PLAN, tmp_path / "base", tmp_path / "work")
    assert not (tmp_path / "base").exists()
    monkeypatch.setattr(pretrain, "checkpoint", write)
    pretrain.pretrain(PLAN, tmp_path / "base", tmp_path / "work")
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "base"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert all(tensor.dtype == torch.bfloat16 for tensor in whole.values())


def test_from_a_finished_base_all_but_the_tower_goes_on(tmp_path):
    pretrain.pretrain(replace(PLAN, relate_steps=4), tmp_path / "on", tmp_path / "work", base=pretrain.OUTPUT)
    written = {path.name for path in (tmp_path / "work").iterdir()}
    assert written == {"relate.safetensors", "settle.safetensors"}
    before, after = (load_file(folder / "model.safetensors") for folder in (pretrain.OUTPUT, tmp_path / "on"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any("vision_tower" in name for name in changed) and any("q_proj" in name for name in changed)
    for name in changed:  # as quiet as it was: a few steps are small against the weights
        assert (after[name].float() - before[name].float()).norm() < 0.2 * before[name].float().norm(), name
    assert (tmp_path / "on/config.json").read_text() == (pretrain.OUTPUT / "config.json").read_text()


def test_a_finished_base_is_loaded_as_the_same_function():
    register()
    tokenizer = load_tokenizer(pretrain.OUTPUT)
    quiet = AutoModelForImageTextToText.from_pretrained(pretrain.OUTPUT, dtype=torch.float32)
    loud = pretrain.load(pretrain.OUTPUT, tokenizer)
    batch = stream.text_batch(stream.Speller(architecture.build_processor(tokenizer)), 0, 0, SMALL)
    said = {name: batch[name] for name in ("input_ids", "pixel_values", "target_sizes")}
    with torch.no_grad():
        assert torch.equal(quiet(**said).logits, loud(**said).logits)
    assert loud.config.rms_norm_eps == 1e-6


def test_the_shipped_base_is_this_architecture():
    shipped = load_file(pretrain.OUTPUT / "model.safetensors")
    model = architecture.build_model(load_tokenizer(pretrain.OUTPUT))
    assert sum(tensor.numel() for tensor in shipped.values()) == sum(p.numel() for p in model.parameters())
    assert (pretrain.OUTPUT / "model.safetensors").stat().st_size < 6e6


def test_the_shipped_base_loses_nothing_to_four_bits():
    register()
    model = AutoModelForImageTextToText.from_pretrained(pretrain.OUTPUT, dtype=torch.float32)
    layers = {n: m for n, m in model.model.language_model.named_modules() if isinstance(m, torch.nn.Linear)}
    shipped = {name: layer.weight.clone() for name, layer in layers.items()}
    round_to_four_bits(model.model.language_model)
    for name, layer in layers.items():
        assert (layer.weight - shipped[name]).norm() < 0.004 * shipped[name].norm(), name  # bfloat16's own rounding
    assert len(layers) == 28


def test_a_quieter_residual_stream_is_the_same_function(processor, speller):
    model = architecture.build_model(processor.tokenizer).eval()
    batch = stream.text_batch(speller, 0, 0, SMALL)
    said = {name: batch[name] for name in ("input_ids", "pixel_values", "target_sizes")}
    with torch.no_grad():
        before, loud = model(**said).logits, model.model.language_model.embed_tokens.weight.std()
        architecture.divide_residual_stream(model)
        assert torch.equal(model(**said).logits, before)
    assert model.model.language_model.embed_tokens.weight.std() == loud / 32
