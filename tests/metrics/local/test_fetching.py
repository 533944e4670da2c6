"""What a model on the Hub describes is compared with its weights before they are loaded, and its sizes before that."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from safetensors.torch import load_file, save_file
from transformers import safetensors_conversion

from t2i_judge import load_judge
from t2i_judge.errors import UserError
from t2i_judge.local import fetching
from t2i_judge.local.fetching import Announced
from tests.embedding_checkpoints import make_clip, make_dino
from tests.judge_folders import BASE, make_adapter
from tests.loopback_hub import loopback

Publish = Callable[[Path], str]


@pytest.fixture(scope="module")
def publish(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publish]:
    """Uploads a folder to a repository on the Hub, and returns its name."""

    def upload(folder: Path) -> str:
        name = f"me/model-{uuid4().hex[:8]}"  # one process has one cache: no test may find another's
        api = HfApi(endpoint=hub.endpoint, token="hf_me")
        api.create_repo(name)
        api.upload_folder(repo_id=name, folder_path=folder)
        return name

    with loopback(tmp_path_factory.mktemp("hub")) as hub:
        yield upload


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapters") / "adapter")


def on(base: str, adapter: Path, folder: Path) -> str:
    """The name of a judge: the adapter on a base on the Hub."""
    shutil.copytree(adapter, folder)
    change(folder / "adapter_config.json", base_model_name_or_path=base, revision=None)
    return f"hf:{folder}"


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def sharded(folder: Path) -> None:
    """Two files of weights and their index."""
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, place = sorted(whole), {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model-{number}.safetensors"
        save_file({name: whole[name] for name in part}, folder / file, {"format": "pt"})
        place |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))


BASES: dict[str, tuple[dict[str, object], str]] = {
    "labels": ({"num_labels": 10**9}, "has the num_labels 1000000000. At most 1,000,000 are built"),
    "layers": ({"num_hidden_layers": 10**9}, "has the num_hidden_layers 1000000000. At most 1,000 are built"),
    "words": ({"vocab_size": 100_000}, "describes 26,.* parameters; its weights have 1,4"),
    "many words": ({"vocab_size": 500_000_000}, "describes 1.* parameters; its weights have at most "),
}


@pytest.mark.parametrize("fault", BASES)
@pytest.mark.parametrize("parts", [lambda folder: None, sharded], ids=["whole", "sharded"])
def test_a_base_on_the_hub_is_compared_with_its_weights(fault, parts, publish, adapter, tmp_path) -> None:
    changes, says = BASES[fault]
    folder = shutil.copytree(BASE, tmp_path / "base")
    parts(folder)
    change(folder / "config.json", **changes)
    name = publish(folder)
    start = time.process_time()
    with pytest.raises(UserError, match=says) as error:
        load_judge(on(name, adapter, tmp_path / "judge"))
    assert str(error.value).startswith(name) and "\n" not in str(error.value)
    assert time.process_time() - start < 10
    if "at most" in says.lower():
        assert try_to_load_from_cache(name, "model.safetensors") is None, "fetched before it was compared"


@pytest.mark.parametrize("parts", [lambda folder: None, sharded], ids=["whole", "sharded"])
def test_a_sound_base_on_the_hub_is_loaded(parts, publish, adapter, tmp_path) -> None:
    folder = shutil.copytree(BASE, tmp_path / "base")
    parts(folder)
    assert load_judge(on(publish(folder), adapter, tmp_path / "judge")).info.model


CHECKPOINTS: dict[str, tuple[Callable[[Path], str], dict[str, object], str]] = {
    "clip": (make_clip, {"projection_dim": 10**9}, "describes 64,.* parameters; its weights have "),
    "clip's layers": (
        make_clip,
        {"vision_config": {"num_hidden_layers": 10**9}},
        "has the num_hidden_layers 1000000000. At most",
    ),
    "dino": (make_dino, {"intermediate_size": 10**9}, "describes 1.* parameters; its weights have "),
    "dino's labels": (make_dino, {"num_labels": 10**9}, "has the num_labels 1000000000. At most"),
}


@pytest.mark.parametrize("place", ["folder", "hub"])
@pytest.mark.parametrize("fault", CHECKPOINTS)
def test_an_embedding_is_compared_with_its_weights(fault, place, publish, tmp_path) -> None:
    make, changes, says = CHECKPOINTS[fault]
    make(tmp_path)
    change(tmp_path / "config.json", **changes)
    name = str(tmp_path) if place == "folder" else publish(tmp_path)
    start = time.process_time()
    with pytest.raises(UserError, match=says) as error:
        load_judge(f"{make.__name__.removeprefix('make_')}:{name}")
    assert str(error.value).startswith(name) and "\n" not in str(error.value)
    assert time.process_time() - start < 10


def test_sound_embeddings_on_the_hub_are_loaded(publish, tmp_path) -> None:
    for kind, make in (("clip", make_clip), ("dino", make_dino)):
        name = publish(Path(make(tmp_path / kind)))
        commit = HfApi().model_info(name).sha
        assert load_judge(f"{kind}:{name}").info.revision == commit
        assert load_judge(f"{kind}:{name}@{commit}").info.revision == commit


@pytest.mark.parametrize("place", ["folder", "hub"])
def test_an_adapter_beside_an_embedding_brings_no_other_model(place, publish, tmp_path) -> None:
    """Of a repository transformers loaded the base that this adapter names, which nobody had looked at."""
    make_clip(tmp_path)
    other = publish(Path(make_clip(tmp_path.parent / f"{tmp_path.name}-other")))
    settings = {"peft_type": "LORA", "target_modules": "q_proj", "base_model_name_or_path": other}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    save_file({"x": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    name = str(tmp_path) if place == "folder" else publish(tmp_path)
    with pytest.raises(UserError, match=r" has an adapter beside its weights\. .* Merge it"):
        load_judge(f"clip:{name}")


SIZES: dict[str, tuple[dict[str, int], str]] = {
    "settings": (
        {"config.json": 10**11},
        r"^me/x is not fetched\. Its config\.json has 100,000,000,000 bytes; at most",
    ),
    "tokens": ({"tokenizer.json": 10**9}, r"^me/x is not fetched\. Its tokenizer\.json has 1,000,000,000 bytes"),
    "weights": ({"model.safetensors": 10**16}, r"^There is no room for me/x\. Its files have 10,000,000\.0 GB; where"),
}


@pytest.mark.parametrize("kind", ["hf", "clip", "dino", "base"])
@pytest.mark.parametrize("fault", SIZES)
def test_files_too_large_to_be_fetched_are_one_line(fault, kind, publish, adapter, tmp_path, monkeypatch) -> None:
    """By what the Hub announces: nothing is fetched."""
    sizes, says = SIZES[fault]
    folder = Path(make_clip(tmp_path / "model")) if kind in ("clip", "dino") else shutil.copytree(BASE, tmp_path / "b")
    name = publish(folder)
    monkeypatch.setattr(fetching, "announced", lambda repository, revision: Announced("0" * 40, sizes))
    monkeypatch.setattr("t2i_judge.local.whole.announced", lambda repository, revision: Announced())
    with pytest.raises(UserError, match=says.replace("me/x", name)):
        load_judge(on(name, adapter, tmp_path / "judge") if kind == "base" else f"{kind}:{name}")
    largest = next(iter(sizes))
    assert try_to_load_from_cache(name, largest) is None


@pytest.mark.parametrize("width", [16, 10**9])
def test_weights_in_a_pull_request_beside_pickles_are_compared_too(width, publish, tmp_path, monkeypatch) -> None:
    """Where a repository has pickles alone, transformers loads the safetensors that a pull request brings."""
    make_clip(tmp_path)
    change(tmp_path / "config.json", projection_dim=width)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").unlink()
    name = publish(tmp_path)
    api = HfApi(token="hf_me")
    api.upload_file(path_or_fileobj=weights, path_in_repo="model.safetensors", repo_id=name, create_pr=True)
    # It asks a service for one where there is none.
    monkeypatch.setattr(safetensors_conversion, "get_conversion_pr_reference", lambda *args, **options: "refs/pr/1")
    if width == 16:
        assert load_judge(f"clip:{name}").info.revision == HfApi().model_info(name).sha
        return
    with pytest.raises(UserError, match=r"^me/\S+ is not complete\. Its config\.json describes 64,"):
        load_judge(f"clip:{name}")
