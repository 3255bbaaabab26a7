"""Masked autoencoding: a ViT gets a quarter of the patches, and a small decoder predicts the others from its output.

He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners". The decoder is not saved. Example reconstructions
are drawn as a PNG file.
"""

import json
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor, nn
from transformers import ViTConfig, ViTMAEConfig, ViTMAEForPreTraining, ViTModel

from train.pretraining.images import ImageDataset
from vlm.config import ENCODER_SIZES, ImageGeometry

DECODER = {
    "decoder_hidden_size": 128,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 512,
}


class MaskedAutoencoder(nn.Module):
    """transformers' ViTMAEForPreTraining with a built-in ViT. The target is each patch, normalized to mean 0 and
    standard deviation 1."""

    def __init__(self, encoder: str, geometry: ImageGeometry, *, mask_ratio: float):
        super().__init__()
        size = {key: value for key, value in ENCODER_SIZES[encoder].items() if key != "model_type"}
        self.architecture = size | {"image_size": geometry.size, "num_channels": geometry.num_channels}
        self.autoencoder = ViTMAEForPreTraining(
            ViTMAEConfig(**self.architecture, **DECODER, mask_ratio=mask_ratio, norm_pix_loss=True)
        )
        self._init_weights()

    def forward(
        self,
        pixel_values: Float[Tensor, "images channels height width"],
        noise: Float[Tensor, "images patches"],
    ) -> Float[Tensor, ""]:
        """Mean squared error of masked pixels, summed over images. The patches with the largest noise are masked."""
        return self.autoencoder(pixel_values, noise=noise).loss * len(pixel_values)

    @torch.no_grad()
    def reconstruct(
        self,
        pixel_values: Float[Tensor, "images channels height width"],
        noise: Float[Tensor, "images patches"],
    ) -> tuple[Float[Tensor, "images channels height width"], Float[Tensor, "images channels height width"]]:
        """The images with predicted masked patches, and a mask that is 1 in these patches.

        The mean and the standard deviation of a predicted patch are taken from the true patch.
        """
        output = self.autoencoder(pixel_values, noise=noise)
        patches = self.autoencoder.patchify(pixel_values)
        mean, variance = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
        hidden = output.mask[..., None].expand_as(patches)
        drawn = torch.where(hidden > 0, output.logits.float() * (variance + 1e-6) ** 0.5 + mean, patches)
        return self.autoencoder.unpatchify(drawn), self.autoencoder.unpatchify(hidden)

    def save_encoder(self, folder: Path, geometry: ImageGeometry) -> None:
        """Save the ViT and its preprocessor_config.json in Hugging Face format."""
        vit = ViTModel(ViTConfig(**self.architecture), add_pooling_layer=False)
        vit.load_state_dict(self.autoencoder.vit.state_dict())
        vit.save_pretrained(folder)
        side = {"height": geometry.size, "width": geometry.size}
        processor = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": side,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": geometry.mean,
            "image_std": geometry.std,
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")

    @torch.no_grad()
    def _init_weights(self) -> None:
        """Initialize as in the paper. transformers 5.23 leaves the fixed position embeddings of encoder and decoder at
        0, so the model could not learn the positions of patches."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        embeddings, decoder = self.autoencoder.vit.embeddings, self.autoencoder.decoder
        nn.init.xavier_uniform_(embeddings.patch_embeddings.projection.weight.flatten(1))
        side = round(embeddings.patch_embeddings.num_patches**0.5)
        for positions in (embeddings.position_embeddings, decoder.decoder_pos_embed):
            positions[0, 1:] = sinusoidal_positions(side, positions.shape[-1])
        for token in (embeddings.cls_token, decoder.mask_token):
            nn.init.normal_(token, std=0.02)


def sinusoidal_positions(side: int, width: int) -> Float[Tensor, "patches width"]:
    """Fixed position embeddings of a square of patches, row by row: sines and cosines of the column in the first half,
    of the row in the second half, with wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017)."""
    frequencies = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.cat([waves[columns.flatten()], waves[rows.flatten()]], dim=1).float()


MAX_IMAGES = 8
GAP = 6
CAPTION = 16
MASKED_GRAY = 0.35
COLUMNS = ("original", "visible", "reconstruction")


def draw_reconstructions(model: MaskedAutoencoder, images: ImageDataset, path: Path) -> None:
    """Write a PNG with one row per image, for up to MAX_IMAGES images at equal distances in the data."""
    numbers = np.linspace(0, len(images) - 1, min(MAX_IMAGES, len(images))).round().astype(int)
    batch = images.collate([images[int(number)] for number in numbers])
    device = next(model.parameters()).device
    pixel_values = batch["pixel_values"].to(device)
    filled, hidden = model.eval().reconstruct(pixel_values, batch["noise"].to(device))
    whole, filled = (_gray(values, images.geometry) for values in (pixel_values, filled))
    seen = np.where(hidden[:, 0].cpu().numpy() > 0, MASKED_GRAY, whole)
    size = images.geometry.size
    width, height = len(COLUMNS) * (size + GAP) + GAP, len(numbers) * (size + GAP) + GAP + CAPTION
    sheet = Image.new("L", (width, height), 255)
    for column, (caption, squares) in enumerate(zip(COLUMNS, (whole, seen, filled), strict=True)):
        left = GAP + column * (size + GAP)
        ImageDraw.Draw(sheet).text((left, 2), caption, fill=0)
        for row, square in enumerate(squares):
            sheet.paste(Image.fromarray((square * 255).round().astype(np.uint8)), (left, CAPTION + row * (size + GAP)))
    sheet.save(path)


def _gray(values: torch.Tensor, geometry: ImageGeometry) -> np.ndarray:
    """Convert pixel values back to 0..1."""
    return (values[:, 0].float().cpu().numpy() * geometry.std[0] + geometry.mean[0]).clip(0, 1)
