"""Layers over several processes against one process with the whole batch."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from csgnn_dgl.graphs import ConcentricLevel
from csgnn_dgl.nn import ConcentricBlock, Norm, NormReLU, SharedDropout
from csgnn_dgl.nn.moments import Moments, num_processes
from csgnn_dgl.nn.norm import without_observing
from tests.forms import FORMS
from tests.tolerances import EXACT, TOLERANCE, relative

LEVEL, NUM_SPHERES, CHANNELS = 1, 3, 4
FORMS_HERE = [form for form in FORMS if form != "reference"]
DTYPES = {"float32": torch.float32, "float64": torch.float64}
KINDS = [*(f"block {form}" for form in FORMS_HERE), "norm"]
MODULES = [*(f"{kind} {dtype}" for kind in KINDS for dtype in DTYPES), "block auto bfloat16"]
SHARES = {2: [3, 2], 3: [1, 4, 2]}
"""Samples of each process, by the number of processes."""


def make_block(form: Any, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(1)
    block = ConcentricBlock(CHANNELS, [4, 8], [8, 6], form=form).to(dtype)
    return disturb(block)


def disturb(module: Any) -> Any:
    """Give norms weights and running averages that are not those of fresh ones."""
    for norm in module.modules():
        if isinstance(norm, Norm):
            nn.init.normal_(norm.weight, 1), nn.init.normal_(norm.bias)
            norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    return module


def make_batch(dtype: torch.dtype, batch: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch + 10 * width)
    vertices = 10 * 4**LEVEL + 2
    offsets = 0.3 * torch.arange(batch, dtype=dtype)[:, None]  # so that the processes have other moments than the whole
    return offsets + torch.randn(NUM_SPHERES, vertices, batch, width, generator=generator, dtype=dtype)


def train(module: nn.Module, features: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
    """Output, gradients and buffers of one training step, and the output without gradients."""
    level = ConcentricLevel(LEVEL, NUM_SPHERES)

    def call(h: Tensor) -> Tensor:
        return module(level, h) if isinstance(module, ConcentricBlock) else module(h)

    features = features.clone().requires_grad_()
    output = call(features)
    output.backward(cotangent)
    assert features.grad is not None
    found = {"output": output.detach(), "input gradient": features.grad}
    for name, parameter in module.named_parameters():
        if "norms" in name or not name.endswith("bias") or isinstance(module, Norm):
            assert parameter.grad is not None  # biases before a norm have no gradient but rounding
            found[f"gradient of {name}"] = parameter.grad
    found |= {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.no_grad(), without_observing(module):
        found["output without gradients"] = call(features)
    assert all(torch.equal(buffer, found[name]) for name, buffer in module.named_buffers())
    return found


def train_all(features: Any) -> dict[str, dict[str, Tensor]]:
    """Train every module on what `features` takes of the whole batch."""
    found = {}
    for name, dtype in DTYPES.items():
        for form in FORMS_HERE:
            block = make_block(form, dtype)
            found[f"block {form} {name}"] = train(block, features(dtype, CHANNELS), features(dtype, 6))
        torch.manual_seed(1)
        norm = disturb(NormReLU(CHANNELS).to(dtype))
        found[f"norm {name}"] = train(norm, features(dtype, CHANNELS), features(dtype, CHANNELS))
        leaky = disturb(Norm(CHANNELS, slope=0.2).to(dtype))
        found[f"leaky norm {name}"] = train(leaky, features(dtype, CHANNELS), features(dtype, CHANNELS))
    with torch.autocast("cpu", torch.bfloat16):
        block = make_block("auto", torch.float32)
        found["block auto bfloat16"] = train(block, features(torch.float32, CHANNELS), features(torch.float32, 6))
    return found


def one_of_several(rank: int, world: int, folder: str) -> None:
    """Be one process: compute with this one's samples and leave the results in a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    shares = SHARES[world]

    def own(dtype: torch.dtype, width: int) -> Tensor:
        return make_batch(dtype, sum(shares), width).split(shares, dim=2)[rank]

    assert num_processes() == world
    found = train_all(own)
    for module in found.values():
        for name, value in module.items():
            if name.startswith("gradient"):
                dist.all_reduce(value)
    rows = torch.arange(5.0, dtype=torch.float64)[:, None].expand(5, 2) ** 2 + 1e8
    moments = Moments.of(rows[rank : rank + 2]).across_processes()
    found["moments"] = {"mean": moments.mean, "variance": moments.variance, "total": torch.tensor(moments.total)}
    torch.manual_seed(3)
    dropout = SharedDropout(0.4)
    found["dropout"] = {"training": dropout(torch.ones(4, 50)), "again": dropout(torch.ones(4, 7))}
    found["dropout"]["evaluation"] = dropout.eval()(torch.ones(4, 50))
    lonely = NormReLU(2)(torch.tensor([[1.0, 2.0]]) * (rank + 1))  # a single row, but not the only one
    found["lonely"] = {"output": lonely.detach()}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)], ids="{} processes".format)
def several(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process found."""
    folder = tmp_path_factory.mktemp("processes")
    # torch is imported once, by a server that the processes are forked from
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__])
    start_processes(one_of_several, (request.param, str(folder)), nprocs=request.param, start_method="forkserver")
    return [torch.load(Path(folder, f"{rank}.pt"), weights_only=True) for rank in range(request.param)]


@pytest.fixture(scope="module")
def whole() -> dict[int, dict[str, Any]]:
    """What one process finds with the whole batch, by the number of the others."""
    return {
        world: train_all(lambda dtype, width, shares=shares: make_batch(dtype, sum(shares), width))
        for world, shares in SHARES.items()
    }


@pytest.mark.parametrize("module", MODULES)
def test_several_processes_compute_what_one_does(several: Any, whole: Any, module: str) -> None:
    tolerance = TOLERANCE[getattr(torch, module.split()[-1])]
    wanted = whole[len(several)][module]
    found = [process[module] for process in several]
    for name, value in wanted.items():
        per_sample = value.dim() == 4
        pieces = [process[name] for process in found]
        for got in [torch.cat(pieces, dim=2)] if per_sample else pieces:
            if name == "num_batches_tracked" or name.endswith(".num_batches_tracked"):
                assert int(got) == int(value) == 1
                continue
            scale = float(value.abs().max()) or 1.0
            torch.testing.assert_close(got / scale, value / scale, **tolerance, msg=f"{name}: {{}}".format)


@pytest.mark.parametrize("module", MODULES)
def test_running_averages_are_the_same_bits_in_all_processes(several: Any, module: str) -> None:
    names = [name for name in several[0][module] if "running" in name]
    assert names
    for name in names:
        assert all(torch.equal(process[module][name], several[0][module][name]) for process in several)


def test_moments_are_those_of_the_rows_of_all(several: Any) -> None:
    world = len(several)
    numbers = torch.arange(5.0, dtype=torch.float64) ** 2  # without the offset, which would cost the sums digits
    rows = torch.cat([numbers[rank : rank + 2] for rank in range(world)])
    for process in several:
        assert float(process["moments"]["total"]) == 2 * world
        torch.testing.assert_close(process["moments"]["mean"], (1e8 + rows.mean()).expand(2), **relative(EXACT))
        variance = rows.var(correction=0).expand(2)
        torch.testing.assert_close(process["moments"]["variance"], variance, **relative(TOLERANCE[torch.float64]))


def test_dropout_drops_what_one_process_drops(several: Any) -> None:
    torch.manual_seed(3)
    dropout = nn.Dropout(0.4)
    world = len(several)
    for name, width in (("training", 50), ("again", 7)):
        expected = dropout(torch.ones(4 * world, width))
        for rank, process in enumerate(several):
            assert torch.equal(process["dropout"][name], expected[rank::world])
    for process in several:
        assert torch.equal(process["dropout"]["evaluation"], torch.ones(4, 50))


def test_one_process_drops_what_torch_drops() -> None:
    masks = []
    for kind in (nn.Dropout, SharedDropout):
        torch.manual_seed(0)
        masks.append(kind(0.3)(torch.ones(20, 30)))
    assert torch.equal(*masks)


def test_one_row_each_is_enough_where_there_are_several(several: Any) -> None:
    rows = torch.cat([process["lonely"]["output"] for process in several])
    expected = nn.functional.batch_norm(
        torch.tensor([[1.0, 2.0]]) * torch.arange(1, len(several) + 1)[:, None], None, None, training=True
    ).relu()
    torch.testing.assert_close(rows, expected, **TOLERANCE[torch.float32])
    with pytest.raises(ValueError, match="more than one observation"):
        NormReLU(2)(torch.ones(1, 2))


def test_without_observing_leaves_the_running_averages_and_ends() -> None:
    norm = disturb(NormReLU(CHANNELS))
    before = copy.deepcopy(norm.state_dict())
    rows = torch.randn(10, CHANNELS)
    with without_observing(norm):
        with without_observing(norm):
            first = norm(rows)
        second = norm(rows)  # the inner context has not ended the outer one
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    observed = norm(rows)
    assert torch.equal(first, observed) and torch.equal(second, observed)
    assert int(norm.num_batches_tracked) == 1 and not torch.equal(norm.running_mean, before["running_mean"])
