"""DINO-I, CLIP-I, CLIP-T and CLIPScore on tiny random checkpoints equal a straightforward computation."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from t2i_judge import load_judge
from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.judges import embedding
from t2i_judge.judges.embedding import ClipJudge, DinoJudge
from t2i_judge.records import Status
from tests.embedding_checkpoints import (
    make_altclip,
    make_clip,
    make_dino,
    make_resnet,
    make_siglip,
    make_vit_mae,
    without_parameters,
)

PROMPT = "a red cat"


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 48, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def dino_checkpoint(tmp_path_factory):
    return make_dino(tmp_path_factory.mktemp("dino"))


@pytest.fixture(scope="module")
def clip_checkpoint(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip"))


def test_dino_i_is_the_cosine_of_class_tokens(dino_checkpoint):
    from transformers import ViTImageProcessor, ViTModel

    judge = DinoJudge("dino:x", dino_checkpoint)
    [judged] = judge.score([picture(0)], [PROMPT], [picture(1)])
    model = ViTModel.from_pretrained(dino_checkpoint).eval()
    pixels = ViTImageProcessor.from_pretrained(dino_checkpoint)([picture(0), picture(1)], return_tensors="pt")
    with torch.no_grad():
        tokens = model(**pixels).last_hidden_state[:, 0]
    expected = torch.nn.functional.cosine_similarity(tokens[0], tokens[1], dim=0)
    assert judged.scores["concept_preservation"] == pytest.approx(float(expected), abs=1e-6)
    assert judged.score_range == (-1, 1)


def test_clip_i_clip_t_and_clipscore(clip_checkpoint):
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

    judge = ClipJudge("clip:x", clip_checkpoint)
    both, plain = judge.score([picture(0)] * 2, [PROMPT] * 2, [picture(1), None])
    model = CLIPModel.from_pretrained(clip_checkpoint).eval()
    pixels = CLIPImageProcessor.from_pretrained(clip_checkpoint)([picture(0), picture(1)], return_tensors="pt")
    tokenizer = AutoTokenizer.from_pretrained(clip_checkpoint)
    with torch.no_grad():
        views = model.visual_projection(model.vision_model(**pixels).pooler_output)
        texts = [
            model.text_projection(model.text_model(**tokenizer(text, return_tensors="pt")).pooler_output)[0]
            for text in (PROMPT, "A photo depicts " + PROMPT)
        ]
    cosine = torch.nn.functional.cosine_similarity
    assert both.scores["concept_preservation"] == pytest.approx(float(cosine(views[0], views[1], dim=0)), abs=1e-6)
    assert both.scores["prompt_following"] == pytest.approx(float(cosine(views[0], texts[0], dim=0)), abs=1e-6)
    expected = 2.5 * max(float(cosine(views[0], texts[1], dim=0)), 0)
    assert plain.scores["overall"] == pytest.approx(expected, abs=1e-6)
    assert plain.score_range == (0, 2.5)


def test_a_cut_prompt_is_said(clip_checkpoint):
    [judged] = ClipJudge("clip:x", clip_checkpoint).score([picture(0)], ["a red cat " * 9])
    assert judged.rationale == "CLIP read the first 8 of 32 tokens"


def test_what_cannot_be_judged_has_a_status(dino_checkpoint):
    judge = DinoJudge("dino:x", dino_checkpoint)
    alone, broken = judge.score([picture(0), b"not an image"], [PROMPT] * 2, [None, picture(1)], image_ids=["a", "b"])
    assert (alone.status, alone.image_id, dict(alone.scores)) == (Status.SKIPPED, "a", {})
    assert broken.status is Status.IMAGE_ERROR


def test_an_empty_prompt_is_skipped(clip_checkpoint):
    [judged] = ClipJudge("clip:x", clip_checkpoint).score([picture(0)], [" "], [picture(1)])
    assert (judged.status, judged.reason) == (Status.SKIPPED, "the prompt is empty or is not text")


def test_a_wrong_checkpoint_is_one_line(tmp_path, clip_checkpoint, dino_checkpoint):
    for judge, checkpoint in ((DinoJudge, str(tmp_path)), (DinoJudge, clip_checkpoint), (ClipJudge, dino_checkpoint)):
        with pytest.raises(UserError, match="cannot be loaded") as error:
            judge("x", checkpoint)
        assert "\n" not in str(error.value)


def test_siglip_is_read_as_it_was_trained_with_its_texts_filled_up(tmp_path):
    from transformers import AutoTokenizer, SiglipImageProcessor, SiglipModel

    checkpoint = make_siglip(tmp_path)
    [judged] = load_judge(f"clip:{checkpoint}").score([picture(0)], [PROMPT])
    model = SiglipModel.from_pretrained(checkpoint).eval()
    pixels = SiglipImageProcessor.from_pretrained(checkpoint)([picture(0)], return_tensors="pt")
    text = AutoTokenizer.from_pretrained(checkpoint)("A photo depicts " + PROMPT, padding="max_length", max_length=8)
    with torch.no_grad():
        view = model.vision_model(**pixels).pooler_output[0]
        words = model.text_model(input_ids=torch.tensor([text["input_ids"]])).pooler_output[0]
    cosine = float(torch.nn.functional.cosine_similarity(view, words, dim=0))
    assert judged.scores["overall"] == pytest.approx(2.5 * max(cosine, 0), abs=1e-5)


def test_a_resnet_has_no_class_token_and_its_pooled_features_count(tmp_path):
    from transformers import ResNetModel, ViTImageProcessor

    checkpoint = make_resnet(tmp_path)
    [judged] = load_judge(f"dino:{checkpoint}").score([picture(0)], [PROMPT], [picture(1)])
    pixels = ViTImageProcessor.from_pretrained(checkpoint)([picture(0), picture(1)], return_tensors="pt")
    with torch.no_grad():
        a, b = ResNetModel.from_pretrained(checkpoint).eval()(**pixels).pooler_output.flatten(1)
    expected = float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    assert judged.scores["concept_preservation"] == pytest.approx(expected, abs=1e-5)


def test_a_reward_in_clip_s_shape_scores_the_prompt_as_it_stands(tmp_path, clip_checkpoint):
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

    bare = tmp_path / "PickScore_v1"  # the checkpoint alone, as it is published
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(clip_checkpoint) / name, bare)
    with pytest.raises(UserError, match="processor="):
        load_judge(f"clip:{bare}", reward=True)
    [judged] = load_judge(f"clip:{bare}", reward=True, processor=clip_checkpoint).score([picture(0)], [PROMPT])
    model = CLIPModel.from_pretrained(bare).eval()
    tokens = AutoTokenizer.from_pretrained(clip_checkpoint)([PROMPT], return_tensors="pt")
    pixels = CLIPImageProcessor.from_pretrained(clip_checkpoint)([picture(0)], return_tensors="pt")
    with torch.no_grad():
        logit = float(model(**tokens, **pixels).logits_per_image)
    assert judged.scores["overall"] == pytest.approx(logit, rel=1e-5)
    assert judged.score_range[1] == pytest.approx(float(model.logit_scale.exp())) and judged.rationale is None


def test_a_reward_is_named_on_the_command_line_and_stands_in_the_run(tmp_path, clip_checkpoint, capsys):
    bare, pictures, out = tmp_path / "reward", tmp_path / "pictures", tmp_path / "out"
    bare.mkdir()
    pictures.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(clip_checkpoint) / name, bare)
    picture(0).save(pictures / "a red cat.png")
    score = ["score", str(pictures), "--judge", f"clip:{bare}", "--out", str(out)]
    options = ["--reward", "--processor", str(clip_checkpoint)]
    assert main(score) == 2 and "--processor" in capsys.readouterr().err
    shutil.rmtree(out)
    assert main([*score, *options]) == 0
    [judged] = load_judge(f"clip:{bare}", reward=True, processor=clip_checkpoint).score([picture(0)], ["a red cat"])
    [line] = map(json.loads, (out / "shards" / "000000.jsonl").open())
    assert line["scores"]["overall"] == pytest.approx(judged.scores["overall"], rel=1e-5)
    assert main([*score, *options[1:]]) == 2 and "reward was True" in capsys.readouterr().err
    for option, judge in ((options[:1], "dino:x"), (options[1:], "tiny")):
        assert main([*score[:2], "--judge", judge, *option, "--out", str(tmp_path / "none")]) == 2
        assert f"{option[0]} cannot be used with {judge!r}" in capsys.readouterr().err


def other_weights(folder):
    from safetensors.torch import load_file, save_file

    path = Path(folder) / "model.safetensors"
    save_file({name: -weights for name, weights in load_file(path).items()}, path, {"format": "pt"})


@pytest.mark.parametrize("kind", ["clip", "dino"])
def test_judgements_of_other_weights_in_the_same_folder_are_not_resumed(tmp_path, clip_checkpoint, capsys, kind):
    folder, table = tmp_path / "model", tmp_path / "t.jsonl"
    shutil.copytree(clip_checkpoint, folder) if kind == "clip" else make_dino(folder)
    picture(0).save(tmp_path / "0.png")
    picture(1).save(tmp_path / "1.png")
    table.write_text(json.dumps({"prompt": "a red cat", "image": "0.png", "reference": "1.png"}) + "\n")
    score = ["score", str(table), "--judge", f"{kind}:{folder}", "--out", str(tmp_path / "out")]
    score += ["--reference-column", "reference"]
    lines = []
    for change in (lambda: None, lambda: None, lambda: other_weights(folder)):
        change()
        assert main(score) == 0
        said = capsys.readouterr().err
        lines += map(json.loads, (tmp_path / "out" / "shards" / "000000.jsonl").open())
    assert "Judged again: 1 item with another judge." in said
    first, again, other = (line["judge"]["revision"] for line in lines)
    assert first == again != other and first.startswith("sha256:")
    assert lines[0]["scores"] != lines[2]["scores"]


def test_a_reward_that_is_known_by_its_name_is_judged_once(tmp_path, clip_checkpoint, monkeypatch, capsys):
    """Without --reward, each run took the range of its scores for another judge's, and judged all again."""
    monkeypatch.setattr(embedding, "REWARDS", {str(clip_checkpoint): str(clip_checkpoint)})
    picture(0).save(tmp_path / "a red cat.png")
    score = ["score", str(tmp_path / "a red cat.png*"), "--judge", f"clip:{clip_checkpoint}"]
    for _ in range(2):
        assert main([*score, "--out", str(tmp_path / "out")]) == 0
    assert "Judged again" not in capsys.readouterr().err


def test_a_processor_s_folder_that_changed_is_another_run(tmp_path, clip_checkpoint, capsys):
    processor = tmp_path / "processor"
    shutil.copytree(clip_checkpoint, processor)
    picture(0).save(tmp_path / "a red cat.png")
    score = ["score", str(tmp_path / "a red cat.png*"), "--judge", f"clip:{clip_checkpoint}"]
    score += ["--processor", str(processor), "--out", str(tmp_path / "out")]
    assert main(score) == 0
    settings = processor / "preprocessor_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "image_mean": [0.1, 0.2, 0.3]}))
    capsys.readouterr()
    assert main(score) == 2
    assert "is the folder of another run. processor of contents was 'sha256:" in capsys.readouterr().err


def test_what_is_not_loaded_whole_or_not_steady_is_refused(tmp_path):
    refused = {
        f"clip:{make_altclip(tmp_path / 'altclip')}": "its type is altclip",
        f"dino:{make_vit_mae(tmp_path / 'mae')}": "a different embedding each time",
        f"dino:{make_altclip(tmp_path / 'again')}": "reads input_ids",
    }
    make_clip(tmp_path / "half"), make_dino(tmp_path / "torn")
    refused[f"clip:{without_parameters(tmp_path / 'half', 'text_model.encoder')}"] = "is incomplete"
    refused[f"dino:{without_parameters(tmp_path / 'torn', 'encoder.layer.1')}"] = "is incomplete"
    for name, reason in refused.items():
        with pytest.raises(UserError, match=reason) as error:
            load_judge(name)
        assert "\n" not in str(error.value)
    make_dino(tmp_path / "plain")
    load_judge(f"dino:{without_parameters(tmp_path / 'plain', 'pooler')}")  # which the class token does not need


def test_a_picture_that_a_processor_cannot_take_is_skipped_alone(clip_checkpoint, monkeypatch):
    judge = ClipJudge("clip:x", clip_checkpoint)
    real = judge.processor

    def processor(images, **options):
        if images.width == 1:
            raise TypeError("one column\nof pixels")
        return real(images=images, **options)

    monkeypatch.setattr(judge, "processor", processor)
    odd, fine = judge.score([Image.new("RGB", (1, 9)), picture(0)], [PROMPT] * 2)
    assert (odd.status, odd.reason) == (Status.SKIPPED, "the model cannot take it: one column of pixels")
    assert fine.status is Status.OK


CODE = {"AutoImageProcessor": "code.Own", "AutoTokenizer": ["code.Own", None], "AutoModel": "code.Own"}


@pytest.mark.parametrize("kind", ["clip", "dino"])
@pytest.mark.parametrize("name", ["preprocessor_config.json", "tokenizer_config.json", "config.json"])
def test_nobody_is_asked_whether_a_stranger_s_code_may_run(tmp_path, monkeypatch, kind, name):
    """transformers asked at the terminal, and whatever stood there for an answer (`yes |`) let it run."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    folder = tmp_path / "model"
    if kind == "clip":
        make_clip(folder)
    else:  # a model for which transformers has no processor of its own
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        SiglipVisionModel(SiglipVisionConfig(image_size=32, patch_size=16, **sizes)).save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text("{}")
    path, ran = folder / name, tmp_path / "ran"
    record = json.loads(path.read_text()) if path.is_file() else {}
    own = {"image_processor_type": "Own", "tokenizer_class": "Own", "auto_map": CODE}
    path.write_text(json.dumps(record | own))
    (folder / "code.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: register_for_auto_class = print\n")
    asked = []
    monkeypatch.setattr("builtins.input", lambda *words: asked.append(words) or "y")
    with suppress(UserError):
        load_judge(f"{kind}:{folder}")
    assert not ran.exists() and not asked
