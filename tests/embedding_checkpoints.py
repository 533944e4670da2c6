"""Tiny random checkpoints of the embedding baselines, made on the spot."""

from __future__ import annotations

from pathlib import Path


def make_dino(folder: Path) -> str:
    """Write a random ViT to `folder`, and return it as a checkpoint's name."""
    import torch
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ViTModel(ViTConfig(image_size=32, patch_size=8, **sizes)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def make_clip(folder: Path) -> str:
    """Write a random CLIP that knows nine words to `folder`, and return it as a checkpoint's name."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = {w: i for i, w in enumerate(["<unk>", "<s>", "</s>", "a", "A", "photo", "depicts", "red", "cat"])}
    tokens = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokens, **names).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    text = {**sizes, "vocab_size": len(words), "max_position_embeddings": 8, "eos_token_id": 2, "bos_token_id": 1}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return str(folder)


def make_siglip(folder: Path) -> str:
    """Write a random SigLIP, which fills texts up to eight words, to `folder`, and return its name."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(0)
    make_clip(folder)  # for its tokenizer
    (folder / "model.safetensors").unlink()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    text = {**sizes, "vocab_size": 9, "max_position_embeddings": 8, "projection_size": 32}
    config = SiglipConfig(text_config=text, vision_config={**sizes, "image_size": 32, "patch_size": 8})
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def make_resnet(folder: Path) -> str:
    """Write a random ResNet to `folder`, and return it as a checkpoint's name."""
    import torch
    from transformers import ResNetConfig, ResNetModel, ViTImageProcessor

    torch.manual_seed(0)
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def make_vit_mae(folder: Path) -> str:
    """Write a random ViT-MAE to `folder`: it hides three quarters of an image, other ones each time."""
    import torch
    from transformers import ViTImageProcessor, ViTMAEConfig, ViTMAEModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ViTMAEModel(ViTMAEConfig(image_size=32, patch_size=8, **sizes)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def make_altclip(folder: Path) -> str:
    """Write a random AltCLIP to `folder`: CLIP's vision tower, another text tower."""
    import torch
    from transformers import AltCLIPConfig, AltCLIPModel

    torch.manual_seed(0)
    make_clip(folder)  # for tokenizer and processor
    (folder / "model.safetensors").unlink()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    text = {**sizes, "vocab_size": 9, "max_position_embeddings": 12, "project_dim": 16}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    AltCLIPModel(AltCLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    return str(folder)


def without_parameters(folder: Path, beginning: str) -> str:
    """The checkpoint, less the parameters whose names begin so."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(path).items() if not name.startswith(beginning)}
    save_file(kept, path, metadata={"format": "pt"})
    return str(folder)
