"""The image encoder: pretrained backbones in Hugging Face format, overlapping patches, plain CNN."""

import json

import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    GPT2Config,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from vlm.config import BaseWeights, EncoderConfig, ImageGeometry
from vlm.layers.encoder import ImageEncoder, resolve_encoder

COLOR = ImageGeometry(size=64, num_channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VIT = {**SIZE, "image_size": 64, "patch_size": 16, "initializer_range": 0.3}
BACKBONES = {
    "vit": (lambda: ViTModel(ViTConfig(**VIT)), 1),
    "dinov2": (lambda: Dinov2Model(Dinov2Config(**VIT)), 1),
    "dinov3": (lambda: DINOv3ViTModel(DINOv3ViTConfig(**VIT, num_register_tokens=4)), 5),
    "resnet": (lambda: ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 2])), None),
    "convnext": (lambda: ConvNextModel(ConvNextConfig(hidden_sizes=[8, 8, 12, 12], depths=[1, 1, 1, 1])), None),
}


def load(folder, image=COLOR):
    name = str(folder)
    architecture = json.loads(json.dumps(resolve_encoder(name, revision=None)))
    return ImageEncoder(EncoderConfig(architecture=architecture, base=BaseWeights(name=name)), image).eval()


@pytest.mark.parametrize("kind", BACKBONES)
@torch.inference_mode()
def test_patch_features_of_a_pretrained_backbone_equal_those_of_transformers(kind, tmp_path):
    build, num_special = BACKBONES[kind]
    reference = build().eval()
    reference.save_pretrained(tmp_path)
    encoder = load(tmp_path)
    pixels = torch.randn(2, 3, 64, 64)
    hidden = reference(pixels).last_hidden_state
    expected = hidden.flatten(2).transpose(1, 2) if num_special is None else hidden[:, num_special:]
    torch.testing.assert_close(encoder(pixels), expected, atol=1e-5, rtol=0)
    assert encoder.width == expected.shape[2]
    assert encoder.grid[0] * encoder.grid[1] == expected.shape[1]


@torch.inference_mode()
def test_backbone_of_a_classifier_can_be_used(tmp_path):
    reference = ViTForImageClassification(ViTConfig(**VIT)).eval()
    reference.save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 64, 64)
    expected = reference.vit(pixels).last_hidden_state[:, 1:]
    torch.testing.assert_close(load(tmp_path)(pixels), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_vision_part_of_a_multimodal_model_can_be_used(tmp_path):
    vision = {**SIZE, "image_size": 64, "patch_size": 16}
    reference = CLIPModel(CLIPConfig(vision_config=vision, text_config={**SIZE, "vocab_size": 30})).eval()
    reference.save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 64, 64)
    expected = reference.vision_model(pixels).last_hidden_state[:, 1:]
    torch.testing.assert_close(load(tmp_path)(pixels), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_first_layers_of_a_pretrained_vit_give_its_hidden_states(tmp_path, capfd):
    reference = Dinov2Model(Dinov2Config(**VIT | {"num_hidden_layers": 3})).eval()
    reference.save_pretrained(tmp_path)
    architecture = json.loads(json.dumps(resolve_encoder(str(tmp_path), revision=None, num_layers=2)))
    encoder = ImageEncoder(EncoderConfig(architecture=architecture, base=BaseWeights(name=str(tmp_path))), COLOR).eval()
    pixels = torch.randn(2, 3, 64, 64)
    hidden = reference(pixels, output_hidden_states=True).hidden_states[2]
    torch.testing.assert_close(encoder(pixels), reference.layernorm(hidden)[:, 1:], atol=1e-5, rtol=0)
    assert "UNEXPECTED" not in "".join(capfd.readouterr())
    with pytest.raises(ValueError, match="has 3 layers, so its first 4 cannot be used"):
        resolve_encoder(str(tmp_path), revision=None, num_layers=4)


def test_layers_of_a_convolutional_encoder_cannot_be_chosen(tmp_path):
    BACKBONES["resnet"][0]().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no layers to choose from, so its first 1 cannot be used"):
        resolve_encoder(str(tmp_path), revision=None, num_layers=1)


def test_other_architecture_than_an_image_encoder_is_rejected(tmp_path):
    GPT2Config().save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ValueError, match="gpt2' is a gpt2, not an image encoder"):
        resolve_encoder(str(tmp_path / "gpt2"), revision=None)
    with pytest.raises(ValueError, match="no model can be read from 'nobody/has-this'"):
        resolve_encoder("nobody/has-this", revision=None)
    with pytest.raises(ValueError, match="model_type 'vti' is unknown to transformers"):
        ImageEncoder(EncoderConfig(architecture={"model_type": "vti"}), COLOR)
    with pytest.raises(ValueError, match="unknown key 'num_layers'; did you mean 'num_hidden_layers'"):
        ImageEncoder(EncoderConfig(architecture={"model_type": "vit", "num_layers": 2}), COLOR)


def build(stride=None, image=COLOR, **changes):
    torch.manual_seed(0)
    architecture = {"model_type": "vit", **VIT, **changes}
    return ImageEncoder(EncoderConfig(architecture=architecture, patch_stride=stride), image).eval()


@torch.inference_mode()
def test_stride_of_the_patch_size_gives_the_usual_vit():
    pixels = torch.randn(1, 3, 64, 64)
    assert torch.equal(build(stride=16)(pixels), build()(pixels))


@torch.inference_mode()
def test_stride_of_half_the_patch_size_gives_four_times_the_patches_in_order():
    encoder = build(stride=8, num_hidden_layers=1, initializer_range=1e-6)
    encoder.backbone.embeddings.position_embeddings.zero_()
    assert encoder.grid == (8, 8)
    # Without attention and positions a patch's features tell only what it covers: the bright spot lies under the
    # patches whose centre is within half a patch of it.
    for layer in encoder.backbone.layers:
        layer.attention.o_proj.weight.zero_()
    pixels = torch.zeros(1, 3, 64, 64)
    dark = encoder(pixels)
    pixels[:, :, 18, 45] = 1e6
    changed = (encoder(pixels) - dark).abs().sum(dim=(0, 2)).unflatten(0, (8, 8)) > 1e-4
    assert changed.nonzero().tolist() == [[1, 5], [1, 6], [2, 5], [2, 6]]


def test_invalid_stride_is_rejected():
    with pytest.raises(ValueError, match="patch_stride 20 does not fit patches of 16 on 64 pixels"):
        build(stride=20)
    with pytest.raises(ValueError, match="patch_stride 12 does not fit"):
        build(stride=12)
    with pytest.raises(ValueError, match="patch_stride needs a ViT with position embeddings, not PlainCNN"):
        ImageEncoder(EncoderConfig(architecture={"model_type": "plain_cnn", "widths": [4]}, patch_stride=8), COLOR)
    with pytest.raises(ValueError, match="the stride of pretrained patches is fixed"):
        EncoderConfig(architecture={"model_type": "vit"}, patch_stride=8, base=BaseWeights(name="somewhere"))


@torch.inference_mode()
def test_features_of_a_cnn_are_in_row_major_order():
    encoder = ImageEncoder(
        EncoderConfig(architecture={"model_type": "plain_cnn", "widths": [4, 6]}), ImageGeometry(size=32)
    ).eval()
    assert (encoder.grid, encoder.width) == ((8, 8), 6)
    pixels = torch.randn(1, 1, 32, 32)
    expected = encoder.backbone(pixels)
    features = encoder(pixels)
    assert torch.equal(features[0, 3 * 8 + 5], expected[0, :, 3, 5])


def test_building_an_encoder_does_not_change_running_statistics():
    encoder = ImageEncoder(
        EncoderConfig(architecture={"model_type": "plain_cnn", "widths": [4]}), ImageGeometry(size=32)
    )
    assert encoder.backbone.training
    counts = [buffer.item() for name, buffer in encoder.named_buffers() if "num_batches" in name]
    assert counts and set(counts) == {0}


def test_plain_cnn_takes_only_widths():
    with pytest.raises(ValueError, match="plain_cnn takes widths and nothing else"):
        ImageEncoder(EncoderConfig(architecture={"model_type": "plain_cnn", "width": [4]}), COLOR)
