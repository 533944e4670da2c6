"""What to do about a model that does not load: one line for each known error."""

from __future__ import annotations

import re

# torchvision has to come from where torch came from: another build of it breaks torch.
_TORCHVISION = (
    "Install the torchvision that matches your torch, from the same place (for a CPU build: pip install torchvision "
    "--index-url https://download.pytorch.org/whl/cpu)"
)
_EXTRA = "Run: pip install 't2i-judge[vlm]'"
_BY_NAME = (
    (r"num2words|sentencepiece|tiktoken|protobuf", _EXTRA),
    (r"torchvision", _TORCHVISION),
    (r"is incomplete: |missing adapter keys", "Download it again, or export it again"),
    (r"\btimm\b|\bdetectron2\b|\bnatten\b", "Install the package that it names"),
    (
        r"remote code|trust_remote_code|custom code|auto_map",
        "Remote code is never run: use a model that transformers supports",
    ),
    (r"(?:image|pre)processor|processor_config", "The folder has no processor files: download all of it again"),
)
_ELSE = "Use a vision-language model that transformers supports, without remote code, in safetensors"


def remedy(error: BaseException) -> str:
    """The fix for an error of transformers, or general advice if the error is unknown."""
    text = str(error)
    return next((fix for names, fix in _BY_NAME if re.search(names, text, re.IGNORECASE)), _ELSE)
