"""What masked autoencoding learned, to look at: some pictures whole, as the model saw them, and as it filled them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from train.masked_autoencoder import MaskedAutoencoder
from train.pictures import PictureDataset
from vlm.config import ImageGeometry

MAX_PICTURES = 8
GAP = 6
CAPTION = 16
HIDDEN_GRAY = 0.35
COLUMNS = ("original", "seen", "filled in")


def draw_reconstructions(model: MaskedAutoencoder, pictures: PictureDataset, path: Path) -> None:
    """Writes a PNG: a row for each of up to MAX_PICTURES pictures, spread evenly over the data."""
    numbers = np.linspace(0, len(pictures) - 1, min(MAX_PICTURES, len(pictures))).round().astype(int)
    batch = pictures.collate([pictures[int(number)] for number in numbers])
    device = next(model.parameters()).device
    pixel_values = batch["pixel_values"].to(device)
    filled, hidden = model.eval().reconstruct(pixel_values, batch["noise"].to(device))
    whole, filled = (_gray(values, pictures.geometry) for values in (pixel_values, filled))
    seen = np.where(hidden[:, 0].cpu().numpy() > 0, HIDDEN_GRAY, whole)
    size = pictures.geometry.size
    width, height = len(COLUMNS) * (size + GAP) + GAP, len(numbers) * (size + GAP) + GAP + CAPTION
    sheet = Image.new("L", (width, height), 255)
    for column, (caption, squares) in enumerate(zip(COLUMNS, (whole, seen, filled), strict=True)):
        left = GAP + column * (size + GAP)
        ImageDraw.Draw(sheet).text((left, 2), caption, fill=0)
        for row, square in enumerate(squares):
            sheet.paste(Image.fromarray((square * 255).round().astype(np.uint8)), (left, CAPTION + row * (size + GAP)))
    sheet.save(path)


def _gray(values: torch.Tensor, geometry: ImageGeometry) -> np.ndarray:
    """Pixel values back to 0..1."""
    return (values[:, 0].float().cpu().numpy() * geometry.std[0] + geometry.mean[0]).clip(0, 1)
