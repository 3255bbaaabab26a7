"""The image encoder: pixel values of single views in, patch features out.

It is any vision backbone of transformers that returns a sequence of patches (ViT, DeiT, DINOv2, DINOv3, …) or a feature
map (ResNet, ConvNeXt, …), by hub id, local folder or built-in size; or a small plain CNN, the baseline for a ViT.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from vlm.config import BaseWeights, EncoderConfig, ImageGeometry
from vlm.layers.pretrained import build_config, load_pretrained, read_architecture

_NAMES_OF_LAYERS = {"stage_names", "out_features", "out_indices"}


class PlainCNN(nn.Module):
    """Stages of two 3x3 convolutions with batch normalization; each stage halves the resolution."""

    def __init__(self, *, num_channels: int, widths: Sequence[int]):
        super().__init__()
        layers = []
        for width in widths:
            for stride in (2, 1):
                convolution = nn.Conv2d(num_channels, width, 3, stride=stride, padding=1, bias=False)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                num_channels = width
        self.stages = nn.Sequential(*layers)

    def forward(
        self, pixel_values: Float[Tensor, "num_images channels height width"]
    ) -> Float[Tensor, "num_images features rows columns"]:
        return self.stages(pixel_values)


class ImageEncoder(nn.Module):
    """A backbone whose output is patch features in row-major order.

    `width` is the size of a feature vector, `grid` the (rows, columns) of patches.
    """

    def __init__(self, config: EncoderConfig, image: ImageGeometry):
        super().__init__()
        self.backbone = _build_backbone(config, image)
        if config.patch_stride is not None:
            _overlap_patches(self.backbone, image.size, config.patch_stride)
        self.grid, self.width = self._probe(image)

    def forward(
        self, pixel_values: Float[Tensor, "num_images channels height width"]
    ) -> Float[Tensor, "num_images patches features"]:
        features = self._features(pixel_values)
        if features.ndim == 4:
            return features.flatten(2).transpose(1, 2)
        return features[:, features.shape[1] - self.grid[0] * self.grid[1] :]

    def _features(self, pixel_values: Tensor) -> Tensor:
        output = self.backbone(pixel_values)
        return output if isinstance(output, Tensor) else output.last_hidden_state

    @torch.no_grad()
    def _probe(self, image: ImageGeometry) -> tuple[tuple[int, int], int]:
        """Grid and width of the patch features, from one run on a black image.

        In every ViT of transformers, the class and register tokens come before the patches, and they are fewer than
        one more row and column of patches.
        """
        was_training = self.backbone.training
        self.backbone.eval()
        features = self._features(torch.zeros(1, image.num_channels, image.size, image.size))
        self.backbone.train(was_training)
        if features.ndim == 4:
            return (features.shape[2], features.shape[3]), features.shape[1]
        side = int(features.shape[1] ** 0.5)
        return (side, side), features.shape[2]


def resolve_encoder(name: str, *, revision: str | None, num_layers: int | None = None) -> dict[str, Any]:
    """The architecture of a pretrained backbone, for EncoderConfig; with `num_layers`, only of its first layers.

    Raises:
        ValueError: it cannot be read, it is not an image encoder, or it does not have so many layers.
    """
    architecture = read_architecture(BaseWeights(name=name, revision=revision))
    if "num_channels" not in architecture:
        raise ValueError(f"{name!r} is a {architecture['model_type']}, not an image encoder")
    if num_layers is None:
        return architecture
    total = getattr(build_config(architecture), "num_hidden_layers", None)
    if total is None or not 1 <= num_layers <= total:
        layers = "no layers to choose from" if total is None else f"{total} layers"
        raise ValueError(f"the encoder {name!r} has {layers}, so its first {num_layers} cannot be used")
    return {key: architecture[key] for key in architecture.keys() - _NAMES_OF_LAYERS} | {
        "num_hidden_layers": num_layers
    }


def _build_backbone(config: EncoderConfig, image: ImageGeometry) -> nn.Module:
    architecture = config.architecture
    if architecture.get("model_type") == "plain_cnn":
        if architecture.keys() != {"model_type", "widths"}:
            raise ValueError(f"architecture of a plain_cnn takes widths and nothing else, got {architecture}")
        widths = architecture["widths"]
        if not isinstance(widths, list) or not widths or not all(type(width) is int and width > 0 for width in widths):
            raise ValueError(f"widths of a plain_cnn must be a list of numbers above 0, got {widths!r}")
        return PlainCNN(num_channels=image.num_channels, widths=architecture["widths"])
    backbone_config = build_config(architecture | {"num_channels": image.num_channels})
    if type(backbone_config) not in MODEL_MAPPING:
        raise ValueError(f"transformers has no image encoder of the type {backbone_config.model_type!r}")
    if hasattr(backbone_config, "image_size") and "image_size" not in architecture:
        backbone_config.image_size = image.size
    model_class = MODEL_MAPPING[type(backbone_config)]
    # An unused pooler has parameters without gradient, which DDP rejects.
    has_pooler = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    options = {"add_pooling_layer": False} if has_pooler else {}
    if config.base is None:
        return model_class(backbone_config, **options)
    return load_pretrained(model_class, config.base, config=backbone_config, **options)


def _overlap_patches(backbone: nn.Module, image_size: int, stride: int) -> None:
    """Make the patches of a new ViT overlap: same patch size, smaller stride, more position embeddings."""
    embeddings = getattr(backbone, "embeddings", None)
    if not hasattr(embeddings, "patch_embeddings") or not hasattr(embeddings, "position_embeddings"):
        raise ValueError(f"patch_stride needs a ViT with position embeddings, not {type(backbone).__name__}")
    patches = embeddings.patch_embeddings
    patch = patches.projection.kernel_size[0]
    if not 0 < stride <= patch or (patch - stride) % 2 or image_size % stride:
        raise ValueError(
            f"patch_stride {stride} does not fit patches of {patch} on {image_size} pixels: it must divide the "
            "image size and differ from the patch size by an even number"
        )
    if stride == patch:
        return
    patches.projection.stride = (stride, stride)
    patches.projection.padding = ((patch - stride) // 2,) * 2
    _, num_positions, width = embeddings.position_embeddings.shape
    num_special = num_positions - patches.num_patches
    patches.num_patches = (image_size // stride) ** 2
    embeddings.position_embeddings = nn.Parameter(torch.randn(1, num_special + patches.num_patches, width) * 0.02)
