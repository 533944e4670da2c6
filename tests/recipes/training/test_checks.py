"""Everything that can be wrong with a base or with rows is one clear line before training starts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoProcessor

from recipes.recipe.config import load_recipe
from recipes.training.checks import (
    check_base,
    check_conversations,
    check_hub_version,
    check_processor,
    check_texts,
    check_version,
    tensor_shapes,
)
from recipes.training.estimates import base_config
from recipes.training.fine_tuning import load_base, load_processor
from t2i_judge.errors import UserError
from t2i_judge.local.minicpmv.processing import IMAGE_MARKER
from t2i_judge.local.minicpmv.registration import register
from tests.loopback_hub import loopback

TINY = Path(__file__).parents[2] / "data" / "minicpmv" / "tiny_hub_layout"


@pytest.fixture
def base(tmp_path) -> Path:
    """A copy of the tiny base."""
    return Path(shutil.copytree(TINY, tmp_path / "base", copy_function=shutil.copyfile))


@pytest.fixture(scope="module")
def processor():
    register()
    return AutoProcessor.from_pretrained(TINY)


def change(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def split_in_shards(base: Path) -> dict[str, str]:
    """The base in two shards with an index, as large checkpoints are."""
    tensors = load_file(base / "model.safetensors")
    names = sorted(tensors)
    index = {name: f"model-0000{1 + (i >= 40)}-of-00002.safetensors" for i, name in enumerate(names)}
    for shard in set(index.values()):
        save_file({name: tensors[name] for name in names if index[name] == shard}, base / shard)
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (base / "model.safetensors").unlink()
    return index


def test_a_whole_base_passes_in_one_file_and_in_shards(base):
    check_base(base)
    split_in_shards(base)
    check_base(base)


def test_a_wrong_folder(tmp_path):
    with pytest.raises(UserError, match="There is no folder"):
        check_base(tmp_path / "nowhere")
    with pytest.raises(UserError, match="There is no folder"):
        check_hub_version(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"has no config\.json"):
        check_base(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "openbmb/MiniCPM-V-2_6"}')
    with pytest.raises(UserError, match=r"is an adapter, not a base.*Give openbmb/MiniCPM-V-2_6"):
        check_base(tmp_path)


@pytest.mark.parametrize(
    ("fields", "name", "instead"),
    [
        ({"version": 2.5}, "MiniCPM-V 2.5", "Use openbmb/MiniCPM-V-2_6"),
        ({"version": 4.0}, "MiniCPM-V 4.0", "the recipe minicpm-v-4.6"),
        ({"version": 4.5}, "MiniCPM-V 4.5", "the recipe minicpm-v-4.6"),
        ({"model_type": "minicpmo"}, "MiniCPM-o 2.6", "Use openbmb/MiniCPM-V-2_6"),
    ],
)
def test_another_minicpm_is_named_with_what_to_use_instead(fields, name, instead, base):
    change(base / "config.json", **fields)
    with pytest.raises(UserError) as error:
        check_base(base)
    assert name in str(error.value) and instead in str(error.value)


@pytest.mark.parametrize(("width", "name"), [(2304, "2.0"), (4096, "2.5")])
def test_versions_that_wrote_none_are_known_by_their_width(width, name, base):
    fields = {"model_type": "minicpmv", "hidden_size": width}
    with pytest.raises(UserError, match=f"MiniCPM-V {name}"):
        check_version(fields, "base")
    (base / "config.json").write_text(json.dumps(fields))
    register()
    with pytest.raises(ValueError, match=f"MiniCPM-V version {name}"):
        AutoConfig.from_pretrained(base)


@pytest.fixture
def on_the_hub(base, tmp_path):
    """Publishes the base with changed configuration fields; returns a recipe on it."""
    from huggingface_hub import HfApi

    def publish(**fields):
        change(base / "config.json", **fields)
        name = f"me/base-{uuid4().hex[:8]}"  # one process has one cache: no test may find another's
        api = HfApi(endpoint=hub.endpoint, token="hf_me")
        api.create_repo(name)
        api.upload_folder(repo_id=name, folder_path=base)
        recipe = load_recipe("smoke")
        return replace(recipe, base=replace(recipe.base, model=name), quantization=None)

    with loopback(tmp_path / "hub") as hub:
        yield publish


def test_a_base_on_the_hub_needs_no_remote_code(on_the_hub):
    recipe = on_the_hub()
    assert base_config(recipe).query_num == 8
    check_processor(load_base(recipe).config, load_processor(recipe))


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"version": 4.5}, "MiniCPM-V 4.5"), ({"model_type": "minicpmo", "version": 2.6}, "MiniCPM-o 2.6")],
)
def test_another_minicpm_on_the_hub_is_named_too(fields, name, on_the_hub):
    recipe = on_the_hub(**fields)
    for read in (base_config, load_processor):
        with pytest.raises(UserError, match=f"^{recipe.base.model} is {name}"):
            read(recipe)


@pytest.mark.parametrize(("auto_map", "reason"), [({}, "`unheard_of`"), ({"AutoConfig": "c.Config"}, "custom code")])
def test_an_unknown_model_on_the_hub_is_one_line_and_no_question(auto_map, reason, on_the_hub):
    recipe = on_the_hub(model_type="unheard_of", auto_map=auto_map)
    for read in (base_config, load_base):
        with pytest.raises(UserError, match=f"{recipe.base.model}.*{reason}"):
            read(recipe)


def test_other_architectures_are_none_of_this_check_s_business():
    check_version({"model_type": "minicpmv4_6", "version": 4.6}, "base")
    check_version({"model_type": "qwen3_vl"}, "base")


def test_a_missing_shard(base):
    shard = sorted(set(split_in_shards(base).values()))[0]
    (base / shard).unlink()
    with pytest.raises(UserError, match=f"has no {shard}"):
        check_base(base)


def test_pickled_weights_are_refused(base):
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"Pickled weights \(\.bin\) are not loaded"):
        check_base(base)


def test_a_shard_without_a_promised_tensor(base):
    index = split_in_shards(base)
    (base / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": index | {"llm.extra": next(iter(index.values()))}})
    )
    with pytest.raises(UserError, match=r"lacks llm\.extra"):
        check_base(base)


def test_weights_of_another_configuration_are_named(base):
    change(base / "config.json", intermediate_size=64)
    with pytest.raises(
        UserError, match=r"mlp\.down_proj\.weight is \(256, \d+\) in the weights and \(256, 64\) in config\.json"
    ):
        check_base(base)


@pytest.mark.parametrize("fields", [{"hidden_size": "wide"}, {"num_attention_heads": 0}])
def test_a_configuration_that_makes_no_model_is_one_line(fields, base):
    change(base / "config.json", **fields)
    with pytest.raises(UserError, match=r"No model can be made from .*config\.json"):
        check_base(base)


def test_a_missing_or_foreign_tensor_is_named_and_not_made_up(base):
    tensors = load_file(base / "model.safetensors")
    query = tensors.pop("resampler.query")
    save_file(tensors, base / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.resampler\.query is missing in the weights"):
        check_base(base)
    save_file(tensors | {"resampler.query": query, "vpm.head.weight": query.clone()}, base / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.vision_tower\.head\.weight is .* unknown in config"):
        check_base(base)


def test_tied_embeddings_need_no_head(base):
    tensors = load_file(base / "model.safetensors")
    del tensors["llm.lm_head.weight"]
    save_file(tensors, base / "model.safetensors")
    with pytest.raises(UserError, match=r"lm_head\.weight is missing"):
        check_base(base)
    change(base / "config.json", tie_word_embeddings=True)
    check_base(base)


@given(st.floats(0, 0.999))
@settings(max_examples=25)
def test_a_safetensors_file_cut_anywhere_is_noticed(tmp_path_factory, share):
    whole = (TINY / "model.safetensors").read_bytes()
    cut = tmp_path_factory.mktemp("cut") / "model.safetensors"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"is truncated|is not a complete safetensors file"):
        tensor_shapes(cut)


def test_a_truncated_file_stops_the_check(base):
    path = base / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"model\.safetensors is truncated"):
        check_base(base)


def test_a_processor_of_another_model(base, processor):
    config = AutoConfig.from_pretrained(base)
    check_processor(config, processor)
    change(base / "config.json", query_num=64)
    with pytest.raises(UserError, match="tokens per slice: the model has 64, the processor 8"):
        check_processor(AutoConfig.from_pretrained(base), processor)
    change(base / "config.json", query_num=8, eos_token_id=331)
    with pytest.raises(UserError, match="id of <image>: the model has 332, the processor 331"):
        check_processor(AutoConfig.from_pretrained(base), processor)
    change(base / "config.json", eos_token_id=330, vocab_size=350)
    with pytest.raises(UserError, match="351 tokens, the model 350 embeddings"):
        check_processor(AutoConfig.from_pretrained(base), processor)


def row(sizes=((300, 200),), question="what", answer="a ship", places=None) -> dict:
    parts = [{"type": "image"}] * (len(sizes) if places is None else places) + [{"type": "text", "text": question}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "text", "text": answer}]}]
    return {"images": [Image.new("RGB", size) for size in sizes], "messages": turns}


@pytest.mark.parametrize("sizes", [(), ((300, 200),), ((60, 40), (400, 400)), ((50, 50),) * 12])
def test_measured_lengths_are_those_of_the_real_batch(sizes, processor):
    given = row(sizes)
    images = iter(given["images"])
    turns = [
        turn | {"content": [p | ({"image": next(images)} if p["type"] == "image" else {}) for p in turn["content"]]}
        for turn in given["messages"]
    ]
    batch = processor.apply_chat_template(turns, tokenize=True, return_dict=True)
    assert check_conversations([given], processor) == len(batch["input_ids"][0])


def test_every_layout_of_rows_is_read(processor):
    one = row()
    turns = one["messages"]
    split = {"images": one["images"], "prompt": turns[:1], "completion": turns[1:]}
    plain = {"images": one["images"], "messages": [{"role": "user", "content": "what"}, turns[1]]}
    packed = {"images": one["images"], "segments": [turns, row(answer="x" * 40)["messages"]]}
    single = check_conversations([one], processor)
    assert check_conversations([split], processor) == check_conversations([plain], processor) == single
    assert check_conversations([packed], processor) > single


def test_a_max_length_that_would_cut_is_refused(processor):
    rows = [row(()), row()]
    length = check_conversations(rows, processor)
    assert check_conversations(rows, processor, length) == length
    for max_length, cut in ((length - 1, "The answer"), (40, "Image tokens and the answer")):
        with pytest.raises(UserError, match=rf"^Row 1 has {length} tokens.*\. {cut} would be cut off"):
            check_conversations(rows, processor, max_length)


@pytest.mark.parametrize("broken", [row(places=0), row(places=2), row(question=f"what is {IMAGE_MARKER}")])
def test_images_without_their_own_place_are_refused(broken, processor):
    with pytest.raises(UserError, match="Row 0: 1 image does not fit the conversation"):
        check_conversations([broken], processor)


def test_a_text_that_would_be_taken_for_an_image_is_quoted(processor):
    check_texts(["a <unk> cat", "no image"], processor)
    with pytest.raises(UserError, match=r"A training text has .*'draw .*would be read as an image"):
        check_texts(["a cat", f"draw {IMAGE_MARKER}"], processor)


def test_the_slice_limit_counts(processor):
    image = [(400, 400)]
    assert processor._get_num_multimodal_tokens(image_sizes=image, max_slice_nums=1)["num_image_tokens"] == [13]
    ids = processor(images=[[Image.new("RGB", image[0])]], text=[IMAGE_MARKER], max_slice_nums=1, return_tensors="pt")
    assert torch.numel(ids["input_ids"]) == 13
