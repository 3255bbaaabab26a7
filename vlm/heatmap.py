"""A finding's attention map as a picture: laid over the X-ray, in its own coordinates."""

import cv2
import numpy as np
from PIL import Image

from vlm.image import placement


def align_to_image(attention: np.ndarray, image_size: tuple[int, int], square: int) -> np.ndarray:
    """Attention over a view's patches, [..., rows, columns], as heat 0..1 in the picture's own pixels.

    Undoes the fitting into the model's square; the peak over the whole map is 1.
    """
    place = placement(image_size, square)
    maps = attention.reshape(-1, *attention.shape[-2:])
    heat = np.empty((len(maps), image_size[1], image_size[0]), dtype=np.float32)
    for index, patches in enumerate(maps):
        whole = cv2.resize(patches.astype(np.float32), (square, square), interpolation=cv2.INTER_CUBIC)
        part = whole[place.top : place.top + place.height, place.left : place.left + place.width]
        heat[index] = cv2.resize(part, image_size, interpolation=cv2.INTER_LINEAR)
    heat = np.clip(heat, 0, None)
    heat /= np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-12)
    return heat.reshape(*attention.shape[:-2], image_size[1], image_size[0])


def overlay_heatmap(image: Image.Image, heat: np.ndarray, *, opacity: float = 0.5) -> Image.Image:
    """The picture with heat 0..1 of the same size laid over it; cold places stay as they are."""
    if heat.shape != (image.height, image.width):
        raise ValueError(f"the heatmap is {heat.shape[::-1]} pixels, the picture {image.size}; align it first")
    gray = np.asarray(image.convert("L"), dtype=np.float32)[:, :, None].repeat(3, axis=2)
    level = (np.clip(heat, 0, 1) * 255).astype(np.uint8)
    color = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB).astype(np.float32)
    weight = (opacity * np.clip(heat * 1.5, 0, 1))[:, :, None]
    return Image.fromarray(np.clip(gray * (1 - weight) + color * weight, 0, 255).astype(np.uint8))
