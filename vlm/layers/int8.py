"""Linear layers with 8-bit weights and inputs, for a faster forward pass on a CPU.

y = W x + b. The weights have one scale per output, the inputs one scale per row, which is computed at run time. The
sums are exact integers, so the result for a row does not depend on the other rows of the batch. The multiplication is
oneDNN's. torch's own modules and tensors for quantization are deprecated.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

MIN_SCALE = 1e-9


class Int8Linear(nn.Module):
    """A linear layer for inference; `weight` and `bias` are those of the layer that it replaces."""

    def __init__(self, weight: Float[Tensor, "outputs inputs"], bias: Float[Tensor, " outputs"] | None):
        super().__init__()
        weight = weight.detach().float()
        scale = (weight.abs().amax(dim=1) / 127).clamp(min=MIN_SCALE)
        integers = (weight / scale[:, None]).round().to(torch.int8).contiguous()
        self._weight = torch.ops.onednn.qlinear_prepack(integers, None)
        self._scale, self._zero = scale, torch.zeros(len(scale), dtype=torch.int32)
        self.register_buffer("bias", None if bias is None else bias.detach().float().clone())
        # Without VNNI instructions pairs of products are added in 16 bits, which only 7-bit inputs cannot overflow.
        can = torch.cpu.get_capabilities()
        self.levels = 127 if can.get("avx512_vnni") or can.get("avx_vnni") else 63

    def forward(self, inputs: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        rows = inputs.reshape(-1, inputs.shape[-1])
        scale = rows.abs().amax(dim=1, keepdim=True).clamp_(min=MIN_SCALE)
        zero = self.levels + 1
        integers = (rows * (self.levels / scale)).add_(zero + 0.5).to(torch.uint8)
        # Inputs with scale and zero point, weights with theirs, no bias, outputs in fp32, no operation after it.
        outputs = torch.ops.onednn.qlinear_pointwise(
            *(integers, 1 / self.levels, zero, self._weight, self._scale, self._zero),
            *(None, 1.0, 0, torch.float32, "none", [], ""),
        )
        outputs = outputs.mul_(scale) if self.bias is None else torch.addcmul(self.bias, outputs, scale)
        return outputs.view(*inputs.shape[:-1], -1)


def int8_problem(device: torch.device) -> str:
    """Why int8 cannot be used on this device; "" if it can."""
    if device.type != "cpu":
        return f"int8 runs on a CPU, not on {device}; leave it out, or hide the GPU with CUDA_VISIBLE_DEVICES="
    if not torch.backends.mkldnn.is_available():
        return "int8 needs a torch with oneDNN; use fp32"
    return ""


def quantize_linear_layers(module: nn.Module) -> None:
    """Replace all linear layers in the module by Int8Linear; embeddings, convolutions and norms stay as they are."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, Int8Linear(child.weight, child.bias))
        elif type(child) is Conv1D:
            setattr(module, name, Int8Linear(child.weight.T, child.bias))
        else:
            quantize_linear_layers(child)
