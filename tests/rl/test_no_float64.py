"""P3O on a device without float64 (Apple's MPS), simulated by fake tensors: no operation there may make one."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coupling.rl import p3o_loss, p3o_mixture_loss
from coupling.rl.p3o import float64_device, policy_ratio, ratio_statistics, to_float64

ANSWERS = {
    torch.Tensor.__float__: 0.5,
    torch.Tensor.__len__: 3,
    torch.Tensor.__bool__: True,
}


class NoFloat64(TorchDispatchMode):
    """Like MPS: an operation that would make a float64 there fails."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for item in tree_leaves(result):
            if isinstance(item, torch.Tensor) and item.device.type == "mps" and item.dtype == torch.float64:
                raise TypeError(f"{function} makes a float64 on MPS")
        return result


class Numbers(TorchFunctionMode):
    """Fake tensors contain no numbers; if the code asks for one, it gets one of ``ANSWERS``."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in ANSWERS:
            return ANSWERS[function]
        return function(*args, **(kwargs or {}))


@pytest.fixture
def given():
    with FakeTensorMode(shape_env=ShapeEnv(allow_dynamic_output_shape_ops=True)), NoFloat64(), Numbers():
        yield tuple(torch.zeros(shape, device="mps") for shape in ((2, 3), (2, 3), (2, 1), (2, 3)))


def test_ratios_are_float64_on_the_cpu_and_the_loss_stays_on_the_device(given):
    logprobs, old, advantages, mask = given
    with pytest.raises(TypeError, match="float64 on MPS"):
        logprobs.double()
    ratio = policy_ratio(logprobs, old, mask)
    for values in (ratio, ratio_statistics(ratio, mask), to_float64(logprobs)):
        assert (values.device.type, values.dtype) == ("cpu", torch.float64)
    for loss, metrics in (
        p3o_loss(logprobs, old, advantages, mask, ess=0.5),
        p3o_mixture_loss(logprobs, old, old, advantages, mask, ess=(0.5, 0.4)),
    ):
        assert (loss.device.type, loss.dtype) == ("mps", torch.float32)
        assert {"ess", "kl_behavior"} <= metrics.keys()


def test_other_devices_compute_float64_themselves():
    for name in ("cpu", "cuda:1"):
        assert float64_device(torch.device(name)) == torch.device(name)
    assert float64_device(torch.device("mps")) == torch.device("cpu")
