"""What somebody does about a model that does not load: by what its error names, one line each."""

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
    (r"\btimm\b|\bdetectron2\b|\bnatten\b", "Install the package that it names"),
    (
        r"remote code|trust_remote_code|custom code|auto_map",
        "Remote code is never run: use a model that transformers supports",
    ),
    (r"(?:image|pre)processor|processor_config", "The folder has no processor files: download all of it again"),
)
_ELSE = "Use a vision-language model that transformers supports, without remote code, in safetensors"


def remedy(error: BaseException) -> str:
    """The fix that goes with an error of transformers; the general one where it names nothing that is known."""
    text = str(error)
    return next((fix for names, fix in _BY_NAME if re.search(names, text, re.IGNORECASE)), _ELSE)
