"""The architecture of `tiny`: MiniCPM-V-2.6's classes at about a million parameters, and an initialiser for that size.

SigLIP towers learn slowly from scratch because nothing in them is local at first. Here some channels carry a code of
the patch's place alone, and heads start out looking at the patch itself and its four neighbours, as a convolution
would; the resampler's queries start as the codes of a grid, so that image token j first stands for place j. In the
language model, like attends to like and is passed on (mimetic initialisation, Trockman and Kolter, arXiv 2305.09828),
and a word is read and written alike, with or without the space before it. All of it is learnable.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from t2i_judge.local.minicpmv.modeling import MiniCPMVForConditionalGeneration

SIDE, PATCH = 112, 14
GRID = SIDE // PATCH
QUERIES = GRID * GRID
QUIETER = 32.0  # how much less the finished language model writes into its residual stream
_NEIGHBOURS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # what the first heads of a vision layer look at: (x, y)
_SHARPNESS = 2.0
_BEFORE, _ALIKE, _SLOW = 60**0.5, 3.0, 0.01  # sharpness by position and by content; radians a token
_SPACE = "\u0120"  # how byte-level BPE writes the space before a word
_LOCATING = 6  # frequencies of the resampler's position code that queries start from: those that tell neighbours apart


def build_processor(tokenizer: Any) -> Any:
    """Image and text processor of `tiny`: one slice of 8 x 8 patches an image."""
    from t2i_judge.local.minicpmv.processing import MiniCPMVImageProcessor, MiniCPMVProcessor

    images = MiniCPMVImageProcessor(
        max_slice_nums=1, scale_resolution=SIDE, patch_size=PATCH, image_feature_size=QUERIES
    )
    return MiniCPMVProcessor(images, tokenizer)


def build_model(tokenizer: Any, seed: int = 0) -> MiniCPMVForConditionalGeneration:
    """A freshly initialised model in float32; the same for the same seed."""
    import torch
    from transformers import SiglipVisionConfig

    from t2i_judge.local.minicpmv.configuration import MiniCPMVConfig
    from t2i_judge.local.minicpmv.modeling import MiniCPMVForConditionalGeneration

    torch.manual_seed(seed)
    vision = SiglipVisionConfig(
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=6,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    config = MiniCPMVConfig(
        vision_config=vision,
        vocab_size=len(tokenizer),
        hidden_size=128,  # linear layers of multiples of 64: the 4-bit kernels need that
        intermediate_size=320,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        query_num=QUERIES,
        image_size=SIDE,
        patch_size=PATCH,
        vision_batch_size=256,
        slice_config={"max_slice_nums": 1, "patch_size": PATCH, "scale_resolution": SIDE},
    )
    model = MiniCPMVForConditionalGeneration(config)
    initialise(model, tokenizer)
    return model


def initialise(model: MiniCPMVForConditionalGeneration, tokenizer: Any) -> None:
    """Fan-in scaled matrices (0.02 is far too small at this width), then the ordered start of each part."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                scale = 0.5 if "o_proj" in name or "down_proj" in name or "fc2" in name else 0.9
                torch.nn.init.normal_(parameter, std=scale * parameter[0].numel() ** -0.5)
        _localise_tower(model.model.vision_tower)
        _localise_resampler(model.model.resampler)
        _share_words(model.model.language_model.embed_tokens.weight, model.lm_head.weight, tokenizer)
        _match_likes(model.model.language_model.layers)
        _find_what_came_before(model.model.language_model)


def _localise_tower(tower: Any) -> None:
    """Give the last channels the place of a patch, and the first heads of each layer one neighbour each to look at."""
    import torch

    width, heads = tower.config.hidden_size, tower.config.num_attention_heads
    head_dim = width // heads
    frequencies = 2 * math.pi / (2 * GRID) * torch.arange(1, head_dim // 4 + 1)
    code = _place_code(frequencies)
    first = width - code.shape[-1]
    tower.embeddings.position_embedding.weight.zero_()
    tower.embeddings.position_embedding.weight[:, first:] = code
    tower.embeddings.patch_embedding.weight[first:] = 0
    gain = (_SHARPNESS * head_dim**0.5) ** 0.5
    for layer in tower.encoder.layers:
        query, key = layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight
        for head, step in enumerate(_NEIGHBOURS[:heads]):
            rows = slice(head * head_dim, head * head_dim + code.shape[-1])
            query[rows] *= 0.1
            key[rows] *= 0.1
            query[rows, first:] += gain * _shift(step, frequencies)
            key[rows, first:] += gain * torch.eye(code.shape[-1])
        layer.self_attn.out_proj.weight[first:] = 0
        layer.mlp.fc2.weight[first:] = 0


def _place_code(frequencies: torch.Tensor) -> torch.Tensor:
    """(places, 4 * frequencies): cosines and sines of the column, then of the row."""
    import torch

    angles = torch.arange(GRID)[:, None] * frequencies
    axis = torch.cat([angles.cos(), angles.sin()], dim=-1)
    columns, rows = axis[None].expand(GRID, -1, -1), axis[:, None].expand(-1, GRID, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1)


def _shift(step: tuple[int, int], frequencies: torch.Tensor) -> torch.Tensor:
    """The matrix that turns the code of a place into that of the place `step` further on."""
    import torch

    blocks = []
    for distance in step:
        cos, sin = torch.diag((frequencies * distance).cos()), torch.diag((frequencies * distance).sin())
        blocks.append(torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)], 0))
    return torch.block_diag(*blocks)


def _localise_resampler(resampler: Any) -> None:
    """Let query j find place j by the fastest frequencies of the position code, and pass on what stands there."""
    import torch

    from t2i_judge.local.minicpmv.vision import sincos_positions

    width = resampler.query.shape[-1]
    quarter = width // 4
    channels = torch.cat([torch.arange(_LOCATING) + start * quarter for start in range(4)])
    table = sincos_positions(width, GRID, GRID, torch.device("cpu")).flatten(0, 1)
    resampler.query.zero_()
    resampler.query[:, channels] = table[:, channels]
    resampler.kv_proj.weight[channels] = 0
    query, key, value = resampler.attn.in_proj_weight.chunk(3)
    gain = (4 * width**0.5) ** 0.5
    for matrix in (query, key):
        matrix *= 0.02
        matrix[channels, channels] += gain
    for matrix in (value, resampler.attn.out_proj.weight, resampler.proj):
        matrix.copy_(torch.eye(width))
    resampler.proj *= 0.5


def _share_words(embeddings: Any, head: Any, tokenizer: Any) -> None:
    """A word's embedding is about the same behind a space, and the head writes what the embedding reads."""
    import torch

    vocabulary = tokenizer.get_vocab()
    embeddings.normal_(std=0.5)
    for token, index in sorted(vocabulary.items()):
        bare = vocabulary.get(token.removeprefix(_SPACE))
        if token.startswith(_SPACE) and bare is not None:
            embeddings[index] = embeddings[bare] + torch.randn(embeddings.shape[1]) * 0.15
    head.copy_(embeddings / embeddings.norm(dim=1, keepdim=True))


def _match_likes(layers: Any) -> None:
    """Queries about equal to keys, and values passed on about unchanged."""
    import torch

    for layer in layers:
        attention = layer.self_attn
        width = attention.k_proj.weight.shape[1]
        attention.q_proj.weight.copy_(attention.k_proj.weight + 0.3 * torch.randn(width, width) * width**-0.5)
        rotation, _ = torch.linalg.qr(torch.randn(width, width))
        attention.v_proj.weight.copy_(rotation)
        attention.o_proj.weight.copy_(0.5 * rotation.T + 0.3 * torch.randn(width, width) * width**-0.5)


def _find_what_came_before(language_model: Any) -> None:
    """Two heads of the first layer fetch the token before; two of the second look where that is the present token.

    Together they go on with whatever was begun before ("induction heads", Olsson et al., arXiv 2209.11895), which a
    model this small does not find by itself. The first look by position alone: query and key are biases, one place
    apart. The second match contents, in those channels that rotary positions hardly turn.
    """
    import torch

    config = language_model.config
    width, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    half = size // 2
    frequencies = config.rope_parameters["rope_theta"] ** (-torch.arange(half) / half)
    slow = torch.arange(half)[frequencies < _SLOW]
    channels = torch.cat([slow, slow + half])
    first, second = language_model.layers[0].self_attn, language_model.layers[1].self_attn
    for head in range(2):
        rows = slice(head * size, (head + 1) * size)
        for projection in (first.q_proj, first.k_proj, second.q_proj, second.k_proj):
            projection.weight[rows] = 0
        first.q_proj.bias[rows] = _BEFORE * torch.cat([torch.ones(half), torch.zeros(half)])
        first.k_proj.bias[rows] = _BEFORE * torch.cat([frequencies.cos(), frequencies.sin()])
        seen = torch.linalg.qr(torch.randn(width, size))[0].T  # what of a token is fetched
        place = torch.linalg.qr(torch.randn(width, size))[0]  # where it is put
        first.v_proj.weight[rows], first.o_proj.weight[:, rows] = seen, place
        second.q_proj.weight[head * size + channels] = _ALIKE * seen[: len(channels)]
        second.k_proj.weight[head * size + channels] = _ALIKE * place.T[: len(channels)]


def divide_residual_stream(model: MiniCPMVForConditionalGeneration, factor: float = QUIETER) -> None:
    """Divide all that is written into the language model's residual stream: the same function, quieter.

    Every reader normalises, so with the norms' epsilon divided by the square of `factor` no logit changes, not by a
    bit where `factor` is a power of two. Pre-training leaves a stream hundreds of times as large as the embeddings, in
    which nothing that LoRA adds is heard; divided, LoRA learns about twice as fast (recipes/tiny-shipped/README.md).
    """
    import torch

    language_model = model.model.language_model
    writers = [language_model.embed_tokens.weight, model.model.resampler.proj]
    for layer in language_model.layers:
        writers += [layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight]
    with torch.no_grad():
        for weight in writers:
            weight /= factor
    model.config.rms_norm_eps /= factor**2
    norms = [
        norm for layer in language_model.layers for norm in (layer.input_layernorm, layer.post_attention_layernorm)
    ]
    for norm in (*norms, language_model.norm):
        norm.variance_epsilon = model.config.rms_norm_eps
