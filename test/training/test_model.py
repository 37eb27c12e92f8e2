"""The network's layers: in bfloat16 on a processor they take other paths, with the same results."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: make test-train")

from torch import nn  # noqa: E402

from drive_seg.training.model import DepthwiseConv, PointConv, Segmenter  # noqa: E402

pytestmark = pytest.mark.train


def gradients(layer, image, mixed):
    """Output, and gradients by the image and the parameters, of the outputs' sum weighted by a wave."""
    layer.zero_grad()
    image = image.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        output = layer(image)
    (output.float() * torch.linspace(0, 20, output.numel()).sin().view(output.shape)).sum().backward()
    return [output.float(), image.grad, *[p.grad for p in layer.parameters()]]


@pytest.mark.parametrize(("layer", "kind"), [
    *[(lambda k=k, s=s: DepthwiseConv(16, 16, k, s, k // 2, groups=16), f"depthwise {k}x{k}, stride {s}")
      for k in (3, 5) for s in (1, 2)],
    (lambda: PointConv(16, 24, 1), "1x1 with a bias"), (lambda: PointConv(16, 24, 1, bias=False), "1x1 without"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_layers_in_bfloat16_do_what_torchs_do(layer, kind):
    torch.manual_seed(3)
    layer = layer()
    plain = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
                      groups=layer.groups, bias=layer.bias is not None)
    plain.load_state_dict(layer.state_dict())
    image = torch.randn(2, 16, 20, 28).to(memory_format=torch.channels_last)
    exact = gradients(plain, image, False)
    assert all(map(torch.equal, gradients(layer, image, False), exact))
    for ours, theirs in zip(gradients(layer, image, True), exact, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).abs().max() < 0.02 * theirs.abs().max(), kind


def test_a_frozen_layer_gets_no_gradient():
    layer = DepthwiseConv(4, 4, 5, 2, 2, groups=4).requires_grad_(False)
    image = torch.randn(1, 4, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        layer(image).float().sum().backward()
    assert layer.weight.grad is None and image.grad.abs().sum() > 0


def test_the_network_in_bfloat16_answers_as_in_float32():
    torch.manual_seed(3)
    network, image = Segmenter(5).eval(), torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        exact = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            low = network(image)
    assert low.dtype == torch.bfloat16
    assert (low.float() - exact).abs().max() < 0.05 * exact.std()
