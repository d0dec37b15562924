"""CLIPs of two layers with random weights, saved as the packages save them: what the ready encoders read."""

from __future__ import annotations

import json

import pytest
import torch

WORDS = ("red", "fox", "in", "snow", "a")
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_clip(folder, image_settings=True):
    """A CLIP of two layers with random weights and a tokenizer of five words, saved as hubs have them."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers import models, pre_tokenizers, processors

    special = ("<start>", "<end>", "<unknown>")
    known = tokenizers.Tokenizer(
        models.WordLevel({word: k for k, word in enumerate(special + WORDS)}, unk_token="<unknown>")
    )
    known.pre_tokenizer = pre_tokenizers.Whitespace()
    known.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    marks = {"bos_token": "<start>", "eos_token": "<end>", "pad_token": "<end>", "unk_token": "<unknown>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=known, **marks).save_pretrained(folder)
    text = TINY | {"vocab_size": 8, "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.CLIPConfig(
        text_config=text | {"pad_token_id": 1},
        vision_config=TINY | {"image_size": 32, "patch_size": 8},
        projection_dim=10,
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(folder)
    if image_settings:
        settings = {"image_processor_type": "CLIPImageProcessor", "image_mean": [0.1, 0.2, 0.3]}
        settings["image_std"] = [0.4, 0.5, 0.6]
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return model


def save_open_clip(folder):
    """A CLIP of OpenCLIP with two layers and random weights: its name, its file, and the model itself."""
    try:
        import open_clip as package
    except (ImportError, RuntimeError) as error:  # the second: its torchvision is of another PyTorch
        pytest.skip(f"open_clip cannot be loaded: {error}")
    config = {
        "embed_dim": 10,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    (folder / "dipedge-tiny.json").write_text(json.dumps(config))
    package.add_model_config(folder / "dipedge-tiny.json")
    torch.manual_seed(0)
    model = package.create_model("dipedge-tiny").eval()
    torch.save(model.state_dict(), folder / "tiny.pt")
    return "dipedge-tiny", str(folder / "tiny.pt"), model
