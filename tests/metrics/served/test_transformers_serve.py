"""A real server and a real, random model: `transformers serve` with a LLaVA of a few thousand weights.

It writes rubbish, so that a status is the right result: never a score.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from t2i_judge import load_judge
from t2i_judge.errors import UserError
from t2i_judge.records import Status
from tests.families import _byte_tokenizer, picture
from tests.ports import reserved_port

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def write_llava(folder: Path) -> None:
    """Two layers of 32 over bytes, four patches an image."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = _byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.image_token = "<image>"
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = LlamaConfig(**size, vocab_size=len(tokenizer), max_position_embeddings=4096, eos_token_id=0, pad_token_id=1)
    vision = CLIPVisionConfig(**size, image_size=16, patch_size=8, projection_dim=32)
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_index=image, image_seq_length=4)
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def port():
    with reserved_port() as number:
        yield number


@pytest.fixture(scope="module")
def serving(port, tmp_path_factory):
    """The model's name and the server's address."""
    pytest.importorskip("fastapi")
    folder = tmp_path_factory.mktemp("llava")
    write_llava(folder)
    command = ["serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = folder / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", "from transformers.cli.transformers import main; main()", *command],
            stdout=out,
            stderr=out,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()[-3000:]
                time.sleep(0.5)
        yield str(folder), f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(120)


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "options"), [("direct+", {}), ("", {"protocol": "staged"})])
def test_rubbish_is_no_score(serving, protocol, options):
    model, url = serving
    judge = load_judge(f"{protocol}openai:{model}@{url}", max_tokens=24, timeout=120, **options)
    judge.check()
    judgements = judge.score([picture(32, 32, seed) for seed in range(2)], ["a cat", "a dog"])
    judge.close()
    assert {judgement.status for judgement in judgements} <= {Status.UNPARSABLE, Status.OUT_OF_RANGE, Status.REFUSED}
    assert all(judgement.scores.get("overall") is None for judgement in judgements)
    assert all(0 < judgement.usage.output_tokens <= 24 * judgement.usage.calls for judgement in judgements)


@pytest.mark.slow
def test_a_model_that_it_does_not_have_ends_the_run(serving):
    _, url = serving
    judge = load_judge(f"direct+openai:no/such-model@{url}", timeout=120)
    with pytest.raises(UserError, match="no/such-model"):
        judge.score([picture(32, 32)], ["a cat"])
    judge.close()
