"""Ready encoders for ``MatchText``: CLIP and its kin, from the packages that have them.

    pair = dipedge.encoders.open_clip("ViT-B-32", "laion2b_s34b_b79k")
    pair = dipedge.encoders.hugging_face("openai/clip-vit-base-patch32")  # or the folder of a saved model

Both packages come with ``pip install dipedge[text]`` and are loaded when asked for. Weights are theirs:
known by name they are downloaded once and kept where the package keeps them; from a file or folder nothing
is downloaded. Models run on the engine's device, in the precision they were loaded in.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from dipedge.errors import FileError, InputError
from dipedge.tasks import Encoders

INSTALL = "pip install dipedge[text]"


def open_clip(model: str = "ViT-B-32", pretrained: str = "laion2b_s34b_b79k") -> Encoders:
    """A model of OpenCLIP (package open_clip_torch).

    Args:
        model: its name, as ``open_clip.list_models()`` has it.
        pretrained: which weights: a tag of ``open_clip.list_pretrained()``, or a file.

    Raises:
        InputError: the package is not installed, or cannot run here; a model it does not have; a model for
            pictures that are not square.
        FileError: the weights could not be had.
    """
    package = _package("open_clip", "open_clip_torch")
    if model not in package.list_models():
        raise InputError(f"open_clip has no model {model!r}; open_clip.list_models() names those it has")

    def load() -> tuple[Any, Any]:
        net = package.create_model(model, pretrained=pretrained, require_pretrained=True)
        return net, package.get_tokenizer(model)

    net, tokens = _weights(f"open_clip model {model!r} with weights {pretrained!r}", load)
    net = _frozen(net)
    visual = net.visual
    return Encoders(
        image=lambda pictures: net.encode_image(_moved(net, pictures)),
        text=lambda text: net.encode_text(tokens([text]).to(_place(net)[0])),
        size=_square(model, visual.image_size),
        mean=tuple(visual.image_mean),
        std=tuple(visual.image_std),
        name=f"open_clip {model}/{pretrained}",
    )


def hugging_face(model: str = "openai/clip-vit-base-patch32") -> Encoders:
    """A model of the Hugging Face hub with image and text features (CLIP, SigLIP and others).

    Args:
        model: its name on the hub, or the folder of a saved model with its tokenizer.

    Raises:
        InputError: the package transformers is not installed, or cannot run here; a model without image and
            text features, or for pictures that are not square.
        FileError: the model could not be had.
    """
    package = _package("transformers", "transformers")

    def load() -> tuple[Any, Any, dict[str, Any]]:
        net = package.AutoModel.from_pretrained(model)
        return net, package.AutoTokenizer.from_pretrained(model), _image_settings(package, model)

    net, tokens, settings = _weights(f"Hugging Face model {model!r}", load)
    if not (hasattr(net, "get_image_features") and hasattr(net, "get_text_features")):
        raise InputError(
            f"Hugging Face model {model!r} is a {type(net).__name__}; it has no pair of encoders"
        )
    net = _frozen(net)
    # Models learned what a text is with this much room after it; SigLIP's are padded to all of it.
    longest = net.config.text_config.max_position_embeddings
    padding = "max_length" if "siglip" in net.config.model_type else False

    def text_code(text: str) -> Any:
        given = tokens([text], padding=padding, truncation=True, max_length=longest, return_tensors="pt")
        known = {name: values for name, values in given.items() if name in ("input_ids", "attention_mask")}
        device = _place(net)[0]
        return _features(net.get_text_features(**{name: values.to(device) for name, values in known.items()}))

    known = {"mean": settings.get("image_mean"), "std": settings.get("image_std")}
    return Encoders(
        image=lambda pictures: _features(net.get_image_features(pixel_values=_moved(net, pictures))),
        text=text_code,
        size=_square(model, net.config.vision_config.image_size),
        name=f"Hugging Face {model}",
        **{name: tuple(values) for name, values in known.items() if values is not None},
    )


def _package(name: str, distribution: str) -> Any:
    """A package that only some users need."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = distribution if error.name == name else f"{error.name}, which {distribution} uses"
        raise InputError(f"encoders of {name} need the package {missing}; {INSTALL}") from error
    except (ImportError, RuntimeError) as error:  # parts of it that do not go together, or not with PyTorch
        raise InputError(f"the package {distribution} cannot be loaded here: {_line(error)}") from error


def _weights(what: str, load: Callable[[], Any]) -> Any:
    """What ``load`` gives.

    The packages and what they stand on (hub, network, file formats) raise a dozen kinds of errors when
    weights are missing, damaged, of another model or out of reach, with no common base: all become one line
    here.
    """
    try:
        return load()
    except Exception as error:
        raise FileError(f"{what} could not be had: {_line(error)}") from error


def _line(error: Exception) -> str:
    """The first line of an error's text, or its kind."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _image_settings(package: Any, model: str) -> dict[str, Any]:
    """The settings stored for a model's pictures; empty where there are none, as CLIP's are the usual ones.

    Only mean and std are wanted of them, so no image processor is built, which would need further packages.
    """
    reader = import_module("transformers.image_processing_base").ImageProcessingMixin
    try:
        return reader.get_image_processor_dict(model)[0]
    except OSError:
        return {}


def _frozen(net: Any) -> Any:
    """A model in evaluation mode whose weights gather no gradients: only the picture is fitted."""
    return net.eval().requires_grad_(False)


def _place(net: Any) -> tuple[Any, Any]:
    """Device and dtype of a model's weights."""
    first = next(net.parameters())
    return first.device, first.dtype


def _moved(net: Any, pictures: Any) -> Any:
    """Pictures in the model's dtype; the model comes to their device if it is elsewhere."""
    device, dtype = _place(net)
    if device != pictures.device:
        net.to(pictures.device)
    return pictures.to(dtype)


def _features(found: Any) -> Any:
    """The codes [N, D]: newer versions of transformers wrap them."""
    return getattr(found, "pooler_output", found)


def _square(model: str, size: Any) -> int:
    """The one side of a model's pictures."""
    sides = set(size) if isinstance(size, tuple | list) else {size}
    if len(sides) != 1:
        raise InputError(f"model {model!r} takes pictures of {size}; only square ones are made")
    return int(sides.pop())
