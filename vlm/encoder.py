"""The image encoder: pixel values of single views in, patch features out.

Any vision backbone of transformers that returns a sequence of patches (ViT, DeiT, DINOv2, DINOv3, …) or a feature
map (ResNet, ConvNeXt, …), by hub id, local folder or built-in size; or the plain CNN of `vlm.cnn`.
"""

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from vlm.cnn import PlainCNN
from vlm.config import EncoderConfig, ImageGeometry


class ImageEncoder(nn.Module):
    """A backbone with one output form: patch features in reading order.

    `width` is their size, `grid` the (rows, columns) of patches.
    """

    def __init__(self, config: EncoderConfig, image: ImageGeometry, *, load_base: bool = True):
        super().__init__()
        self.backbone = _build_backbone(config, image, load_base=load_base)
        if config.patch_stride is not None:
            _overlap_patches(self.backbone, image.size, config.patch_stride)
        self.grid, self.width = self._probe(image)

    def forward(
        self, pixel_values: Float[Tensor, "num_images channels height width"]
    ) -> Float[Tensor, "num_images patches width"]:
        features = self._features(pixel_values)
        if features.ndim == 4:
            return features.flatten(2).transpose(1, 2)
        return features[:, features.shape[1] - self.grid[0] * self.grid[1] :]

    def _features(self, pixel_values: Tensor) -> Tensor:
        output = self.backbone(pixel_values)
        return output if isinstance(output, Tensor) else output.last_hidden_state

    @torch.no_grad()
    def _probe(self, image: ImageGeometry) -> tuple[tuple[int, int], int]:
        """Rows, columns and width of the patch features, from one run on a black picture.

        Class and register tokens precede the patches in every ViT of transformers.
        """
        was_training = self.backbone.training
        self.backbone.eval()
        parameter = next(self.backbone.parameters())
        black = torch.zeros(
            1, image.num_channels, image.size, image.size, device=parameter.device, dtype=parameter.dtype
        )
        features = self._features(black)
        self.backbone.train(was_training)
        if features.ndim == 4:
            return tuple(features.shape[2:]), features.shape[1]
        side = int(features.shape[1] ** 0.5)
        return (side, side), features.shape[2]


def resolve_encoder(name: str, *, revision: str | None, image: ImageGeometry) -> dict[str, Any]:
    """The architecture of a pretrained backbone, as EncoderConfig holds it.

    Raises:
        ValueError: nothing under that name can be read.
    """
    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise ValueError(f"no image encoder can be read from {name!r}: {error}") from error
    config = getattr(config, "vision_config", config)
    architecture = config.to_diff_dict()
    architecture["model_type"] = config.model_type
    return architecture


def _build_backbone(config: EncoderConfig, image: ImageGeometry, *, load_base: bool) -> nn.Module:
    architecture = dict(config.architecture)
    model_type = architecture.pop("model_type")
    if model_type == "plain_cnn":
        return PlainCNN(num_channels=image.num_channels, **architecture)
    if config.base is not None and load_base:
        backbone_config = AutoConfig.from_pretrained(config.base.name, revision=config.base.revision)
        options = _constructor_options(backbone_config)
        return AutoModel.from_pretrained(
            config.base.name, revision=config.base.revision, use_safetensors=True, dtype=torch.float32, **options
        )
    architecture.setdefault("image_size", image.size)
    architecture["num_channels"] = image.num_channels
    backbone_config = AutoConfig.for_model(model_type, **architecture)
    return MODEL_MAPPING[type(backbone_config)](backbone_config, **_constructor_options(backbone_config))


def _constructor_options(config: PretrainedConfig) -> dict[str, Any]:
    """An unused pooler would be a parameter without gradient, which DDP refuses."""
    parameters = inspect.signature(MODEL_MAPPING[type(config)].__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in parameters else {}


def _overlap_patches(backbone: nn.Module, image_size: int, stride: int) -> None:
    """Gives a fresh ViT patches that overlap: same patch size, smaller stride, positions to match."""
    embeddings = getattr(backbone, "embeddings", None)
    if not hasattr(embeddings, "patch_embeddings") or not hasattr(embeddings, "position_embeddings"):
        raise ValueError(f"patch_stride needs a ViT with position embeddings, not {type(backbone).__name__}")
    patches = embeddings.patch_embeddings
    dense = patches.projection
    patch = dense.kernel_size[0]
    if not 0 < stride <= patch or (patch - stride) % 2 or image_size % stride:
        raise ValueError(
            f"patch_stride {stride} does not fit patches of {patch} on {image_size} pixels: it must divide the "
            "image size and differ from the patch size by an even number"
        )
    patches.projection = nn.Conv2d(
        dense.in_channels, dense.out_channels, kernel_size=patch, stride=stride, padding=(patch - stride) // 2
    )
    patches.num_patches = (image_size // stride) ** 2
    width = embeddings.position_embeddings.shape[-1]
    embeddings.position_embeddings = nn.Parameter(torch.randn(1, patches.num_patches + 1, width) * 0.02)
    embeddings.patch_size = stride
