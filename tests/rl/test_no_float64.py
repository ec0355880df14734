"""P3O on a device without float64 (Apple's MPS), played by fake tensors: no operation there may give one."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coupling.rl import p3o_loss, p3o_mixture_loss
from coupling.rl.p3o import policy_ratio, ratio_statistics, wide_device, widened

ANSWERS = {
    torch.Tensor.__float__: 0.5,
    torch.Tensor.__len__: 3,
    torch.Tensor.__bool__: True,
}


class NoFloat64(TorchDispatchMode):
    """As MPS: an operation that would make a float64 there fails."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for item in tree_leaves(result):
            if isinstance(item, torch.Tensor) and item.device.type == "mps" and item.dtype == torch.float64:
                raise TypeError(f"{function} makes a float64 on MPS")
        return result


class Numbers(TorchFunctionMode):
    """Fake tensors hold no numbers; where the code asks for one it is told this."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in ANSWERS:
            return ANSWERS[function]
        return function(*args, **(kwargs or {}))


@pytest.fixture
def given():
    with FakeTensorMode(shape_env=ShapeEnv(allow_dynamic_output_shape_ops=True)), NoFloat64(), Numbers():
        yield tuple(torch.zeros(shape, device="mps") for shape in ((2, 3), (2, 3), (2, 1), (2, 3)))


def test_the_ratios_are_wide_and_the_loss_is_where_the_policy_is(given):
    logprobs, old, advantages, mask = given
    with pytest.raises(TypeError, match="float64 on MPS"):
        logprobs.double()
    ratio = policy_ratio(logprobs, old, mask)
    for wide in (ratio, ratio_statistics(ratio, mask), widened(logprobs)):
        assert (wide.device.type, wide.dtype) == ("cpu", torch.float64)
    for loss, metrics in (p3o_loss(logprobs, old, advantages, mask, ess=0.5),
                          p3o_mixture_loss(logprobs, old, old, advantages, mask, ess=(0.5, 0.4))):  # fmt: skip
        assert (loss.device.type, loss.dtype) == ("mps", torch.float32)
        assert {"ess", "kl_behavior"} <= metrics.keys()


def test_other_devices_are_as_wide_as_they_are():
    for name in ("cpu", "cuda:1"):
        assert wide_device(torch.device(name)) == torch.device(name)
    assert wide_device(torch.device("mps")) == torch.device("cpu")
