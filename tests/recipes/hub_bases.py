"""Base models as users find them on the Hub: tiny, random, in upstream's own layout, on the loopback Hub.

running = start(root, users={"hf_me": "me"})
commit = put_base(running, write_minicpm(tmp_path / "base"))    # base: {model: lab/tiny-minicpm}
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from recipes.loopback.hub.server import Running
from tests.families import MINICPMV, family

OWNER, TOKEN = "lab", "hf_lab"  # whose bases these are: nobody that a release is pushed as
TINY_MINICPM, TINY_QWEN = f"{OWNER}/tiny-minicpm", f"{OWNER}/tiny-qwen3-vl"
# As openbmb/MiniCPM-V-2_6 has them. Nobody may run them.
REMOTE_CODE = (
    "configuration_minicpm.py", "image_processing_minicpmv.py", "modeling_minicpmv.py", "modeling_navit_siglip.py",
    "processing_minicpmv.py", "resampler.py", "tokenization_minicpmv_fast.py",
)  # fmt: skip
_TRAP = 'raise SystemExit("remote code of the base was run")\n'


def write_minicpm(folder: Path) -> Path:
    """A random MiniCPM-V-2.6 of 1.3 million parameters: config.json with auto_map, upstream's tensor names and code."""
    shutil.copytree(MINICPMV, folder)
    for name in REMOTE_CODE:
        (folder / name).write_text(_TRAP)
    _end_soon(folder)
    _card(folder, "other")
    return folder


def write_qwen(folder: Path) -> Path:
    """A random Qwen3-VL as transformers itself saves one, with the video processor's file that upstream has."""
    from trl.chat_template_utils import qwen3_vl_chat_template

    model, processor = family("qwen3_vl")
    model.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(qwen3_vl_chat_template)
    images = processor.image_processor.to_dict() | {"image_processor_type": "Qwen2VLImageProcessor"}
    video = {"video_processor_type": "Qwen3VLVideoProcessor", "patch_size": images["patch_size"]}
    for name, content in (("preprocessor_config.json", images), ("video_preprocessor_config.json", video)):
        (folder / name).write_text(json.dumps(content | {"processor_class": "Qwen3VLProcessor"}, indent=2))
    _end_soon(folder)
    _card(folder, "apache-2.0")
    return folder


def _end_soon(folder: Path) -> None:
    """Let every second token end what a base writes: with random weights it would write on to the limit each time."""
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text())
    own = settings["eos_token_id"]
    tokens = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"].values()
    settings["eos_token_id"] = [*(own if isinstance(own, list) else [own]), *sorted(tokens)[::2]]
    path.write_text(json.dumps(settings))


def _card(folder: Path, license_name: str) -> None:
    (folder / "README.md").write_text(f"---\nlicense: {license_name}\n---\n# A base model for tests, random weights\n")


def put_base(running: Running, folder: Path, repository: str = TINY_MINICPM) -> str:
    """Upload a base to a running loopback Hub as its owner; returns the commit. Again: one more commit on main."""
    from huggingface_hub import HfApi, constants

    running.hub.users[TOKEN] = OWNER
    api = HfApi(endpoint=running.endpoint, token=TOKEN)
    api.create_repo(repository, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_DISABLE_XET", running.hub.xet is None)
        return api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload the base").oid
