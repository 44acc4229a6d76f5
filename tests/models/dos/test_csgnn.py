"""CSGNN for the DOS: Fig. 7, the chunks that bound its memory, and what these do to batch norm and gradients."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from csgnn_dgl.geometry import icosahedral_rotations, icosphere
from csgnn_dgl.mapping import Environments, InterpolatedMapping, NearestVertexMapping, find_environments
from csgnn_dgl.models import CSGNNDOS
from csgnn_dgl.models.dos.csgnn import environments_of
from csgnn_dgl.nn import NormReLU
from tests.forms import FORMS
from tests.models.dos.molecules import CELL, CUTOFF, PERIODIC, batch, crystal, positions, small
from tests.tolerances import TOLERANCE, assert_same_up_to_scale


@pytest.mark.parametrize(("arguments", "parameters"), [({}, 1_061_998), ({"channels": 1}, 1_061_006)])
def test_parameter_counts_are_the_published_ones(arguments: dict, parameters: int) -> None:
    assert sum(p.numel() for p in CSGNNDOS(**arguments).parameters()) == parameters


def test_the_widths_are_those_of_figure_7() -> None:
    model: Any = CSGNNDOS()
    intra = [[(c.in_channels, c.out_channels) for c in block.intra] for block in model.encoder.blocks]
    radial = [[(c.in_channels, c.out_channels, c.kernel_size) for c in block.radial] for block in model.encoder.blocks]
    dense = [(c.in_features, c.out_features) for c in model.dense if isinstance(c, nn.Linear)]
    assert intra == [[(32, 32)] * 2, [(64, 64)] * 2, [(128, 128)] * 2, [(256, 256)]]
    assert radial == [
        [(32, 64, 1), (64, 64, 1)],
        [(64, 128, 1), (128, 128, 1)],
        [(128, 256, 1), (256, 256, 1)],
        [],
    ]
    assert dense == [(256, 512), (512, 512), (512, 512)]
    assert (model.output.bins.in_features, model.output.bins.out_features) == (512, 310)
    assert model.encoder.pool.reduction == "mean"


def plain_dos(model: Any, environments: Environments) -> Tensor:
    """Fig. 7 in plain torch, with dense matrices for the neighbourhoods."""

    def normalise(h: Tensor, norm: NormReLU) -> Tensor:
        rows = h.reshape(-1, h.shape[-1])
        mean, variance = norm.running_mean, norm.running_var
        if model.training:
            mean, variance = rows.mean(dim=0), rows.var(dim=0, correction=0)
        return torch.relu((h - mean) / torch.sqrt(variance + norm.eps) * norm.weight + norm.bias)

    def neighbourhoods(level: int) -> Tensor:
        table = torch.tensor(icosphere(level).neighbours.copy())
        matrix = torch.eye(len(table), dtype=torch.float64)
        for vertex, ring in enumerate(table):
            matrix[vertex, ring[ring >= 0]] = 1
        return matrix

    h = model.mapping(environments).permute(2, 0, 1, 3)  # (N, R, V, C)
    for level, block in zip((2, 1, 0), model.encoder.blocks, strict=True):
        adjacency = neighbourhoods(level)
        for conv, norm in zip(block.intra, block.intra_norms, strict=True):
            new = normalise(adjacency @ h @ conv.weight + conv.bias, norm)
            h = new + h if new.shape == h.shape else new
        for conv, norm in zip(block.radial, block.radial_norms, strict=True):
            padding = (0, 0, 0, 0, len(conv.weight) // 2, len(conv.weight) // 2)
            padded, count = nn.functional.pad(h, padding), h.shape[1]
            taps = [padded[:, tap : tap + count] @ weight for tap, weight in enumerate(conv.weight)]
            h = normalise(sum(taps) + conv.bias, norm)
        if level:
            rows = adjacency[: icosphere(level - 1).num_vertices]
            h = rows @ h / rows.sum(dim=1, keepdim=True)
    h = h.mean(dim=2).mean(dim=1)
    for linear, norm in zip(model.dense[::2], model.dense[1::2], strict=True):
        h = normalise(h @ linear.weight.T + linear.bias, norm)
    h = normalise(h @ model.output.bins.weight.T + model.output.bins.bias, model.output.norm)
    return model.output.smoothing(h[:, None]).relu().mean(dim=1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("arguments", [{"channels": 8}, {"num_spheres": 3, "channels": 2}], ids=["R=1", "R=3"])
def test_the_model_is_the_composition_of_figure_7(arguments: dict, training: bool) -> None:
    model, (environments, _) = small("csgnn", **arguments).train(training), batch()
    wanted, got = plain_dos(model, environments), model.atom_dos(environments)
    torch.testing.assert_close(got, wanted, **TOLERANCE[torch.float64])
    cotangent = torch.randn_like(wanted)
    parameters = [p for name, p in model.named_parameters() if not training or "bias" not in name]
    pairs = zip(*(torch.autograd.grad(dos, parameters, cotangent) for dos in (got, wanted)), strict=True)
    for one, other in pairs:
        assert_same_up_to_scale(one, other)


def test_features_on_the_grid_give_the_dos_of_their_atoms() -> None:
    model: Any = small("csgnn")
    environments, _ = batch()
    assert torch.equal(model.forward_grid(model.mapping(environments)), model.atom_dos(environments))
    with pytest.raises(ValueError, match="features of shape"):
        model.forward_grid(torch.zeros(1, 162, 2, 5, dtype=torch.float64))


def test_all_forms_agree(dtype: torch.dtype) -> None:
    environments, _ = batch(dtype)
    outcomes = []
    for form in FORMS:
        model = small("csgnn", dtype, form=form, num_spheres=2, channels=2)
        dos = model.atom_dos(environments)
        dos.square().sum().backward()
        outcomes.append([dos.detach(), *(p.grad for p in model.parameters())])
    for outcome in outcomes[1:]:
        for got, wanted in zip(outcome, outcomes[0], strict=True):
            assert_same_up_to_scale(got, wanted)  # type: ignore[arg-type]


def test_shells_and_sizes_reach_the_mapping() -> None:
    model: Any = CSGNNDOS(level=1, num_spheres=2, channels=3, cutoff=5.0, shells="uniform", base_width=1)
    environments = find_environments(positions(4), cutoff=5.0)
    wanted = NearestVertexMapping(1, 2, 3, 5.0, "uniform")(environments)
    assert torch.equal(model.mapping(environments), wanted)
    model = CSGNNDOS(level=1, num_spheres=2, channels=3, cutoff=5.0, shells="uniform", mapping="interpolated")
    wanted = InterpolatedMapping(1, 2, 3, 5.0, "uniform")(environments)
    assert torch.equal(model.mapping(environments), wanted)
    assert model.config["mapping"] == "interpolated"
    assert [conv.kernel_size for conv in model.encoder.blocks[0].radial] == [3, 3]
    kept: Any = CSGNNDOS(level=1, num_spheres=2, kernel_size=1, self_loop=False, base_width=1)
    assert [conv.kernel_size for conv in kept.encoder.blocks[0].radial] == [1, 1]
    assert not any(conv.self_loop for block in kept.encoder.blocks for conv in block.intra)


@pytest.mark.parametrize(
    "arguments", [{"chunk": 2}, {"base_width": 0}, {"channels": 0}, {"shells": "none"}, {"mapping": "linear"}]
)
def test_wrong_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        small("csgnn", **arguments)


def test_with_interpolation_the_icosahedral_rotations_change_nothing(dtype: torch.dtype) -> None:
    model, (environments, snapshot) = small("csgnn", dtype, mapping="interpolated", num_spheres=2), batch(dtype)
    wanted = model(environments, snapshot, 3)
    for rotation in icosahedral_rotations():
        turned = model(environments.rotated(torch.tensor(rotation)), snapshot, 3)
        torch.testing.assert_close(turned, wanted, **TOLERANCE[dtype])


def test_with_interpolation_the_dos_is_a_continuous_function_of_the_positions() -> None:
    # a neighbour moves through ten shells and several triangles, and out of the environment
    path = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None] * torch.tensor([1.1, 1.3, 2.46]) + 0.1
    path = path[path.norm(dim=1) <= CUTOFF]
    centre = torch.arange(len(path))
    alone = Environments(path, centre, centre, len(path) + 1)  # the last atom has no neighbour at all
    jumps = {}
    for mapping in ("nearest", "interpolated"):
        with torch.no_grad():
            dos = small("csgnn", mapping=mapping, channels=10).atom_dos(alone)
        jumps[mapping] = float(dos[: len(path)].diff(dim=0).abs().max())
        outside = (dos[len(path) - 1] - dos[-1]).abs().max()
        assert (float(outside) < 1e-3 * float(dos.abs().max())) == (mapping == "interpolated")
    assert jumps["interpolated"] < jumps["nearest"] / 20


@pytest.mark.parametrize("chunk", [3, 5, 7, 15])
def test_in_evaluation_chunks_change_nothing(chunk: int, dtype: torch.dtype) -> None:
    environments, snapshot = batch(dtype)
    whole, parts = small("csgnn", dtype), small("csgnn", dtype, chunk=chunk)
    wanted, got = (model(environments, snapshot, 3) for model in (whole, parts))
    torch.testing.assert_close(got, wanted, **TOLERANCE[dtype])
    gradients = [
        torch.autograd.grad(dos.square().sum(), [*m.parameters()]) for dos, m in ((wanted, whole), (got, parts))
    ]
    for one, other in zip(*gradients, strict=True):
        assert_same_up_to_scale(other, one)


def test_in_training_each_chunk_is_a_batch_of_the_norms_and_gradients_of_the_totals_are_exact() -> None:
    environments, snapshot = batch()
    model = small("csgnn", chunk=6).train()  # 16 atoms in three chunks: 0, 3, 6 ..., 1, 4, 7 ... and 2, 5, 8 ...
    wanted_dos = torch.zeros(16, 9, dtype=torch.float64)
    for start in range(3):
        wanted_dos[start::3] = plain_dos(model, environments_of(environments, torch.arange(start, 16, 3)))
    wanted = torch.stack([wanted_dos[snapshot == number].mean(dim=0) for number in range(3)])
    got = model(environments, snapshot, 3)
    torch.testing.assert_close(got, wanted, **TOLERANCE[torch.float64])
    parameters = [p for name, p in model.named_parameters() if "bias" not in name]
    # the loss ties all atoms of a snapshot, and all its bins, together
    gradients = [torch.autograd.grad(dos.cumsum(dim=1).square().mean(), parameters) for dos in (got, wanted)]
    for one, other in zip(*gradients, strict=True):
        assert_same_up_to_scale(one, other)


@pytest.mark.parametrize("form", FORMS)
def test_recomputing_changes_no_bit_and_moves_running_averages_once(form: Any, dtype: torch.dtype) -> None:
    environments, snapshot = batch(dtype)
    found = []
    for recompute in (False, True):
        model = small("csgnn", dtype, chunk=6, recompute=recompute, form=form).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(2):
            optimizer.zero_grad()
            model(environments, snapshot, 3).square().sum().backward()
            optimizer.step()
        assert {int(norm.num_batches_tracked) for norm in model.modules() if isinstance(norm, NormReLU)} == {6}
        found.append({**model.state_dict(), **{f"d {name}": p.grad for name, p in model.named_parameters()}})
    assert [name for name, value in found[0].items() if not torch.equal(value, found[1][name])] == []


def test_recomputing_in_autocast_changes_no_bit() -> None:
    environments, snapshot = batch(torch.float32)
    found = []
    for recompute in (False, True):
        model = small("csgnn", torch.float32, chunk=6, recompute=recompute).train()
        with torch.autocast("cpu", torch.bfloat16):
            model(environments, snapshot, 3).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize(("chunk", "recompute", "gradient", "computed"), [
    (6, True, True, 5), (6, False, True, 3), (6, True, False, 3), (16, True, True, 1),
])  # fmt: skip
def test_all_chunks_but_the_last_are_computed_twice_where_there_is_a_gradient(
    chunk: int, recompute: bool, gradient: bool, computed: int
) -> None:
    environments, _ = batch()
    model: Any = small("csgnn", chunk=chunk, recompute=recompute)
    sizes = []
    model.mapping.register_forward_hook(lambda _, arguments, __: sizes.append(len(arguments[0])))
    with torch.set_grad_enabled(gradient):
        dos = model.atom_dos(environments)
    if gradient:
        dos.sum().backward()
    assert len(sizes) == computed
    assert max(sizes) <= chunk


def test_memory_kept_for_the_gradient_does_not_grow_with_the_number_of_chunks() -> None:
    def kept(atoms: int, recompute: bool) -> int:
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        model = small("csgnn", chunk=4, recompute=recompute).train()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model.atom_dos(crystal(atoms))
        return total

    one = kept(4, True)
    assert kept(40, True) < 1.1 * one
    assert kept(40, False) > 8 * one


def test_environments_of_some_atoms_are_theirs() -> None:
    environments, _ = batch()
    atoms = torch.tensor([15, 8, 8, 0, 3])  # the lonely atom among them
    some = environments_of(environments, atoms)
    assert len(some) == 5
    for place, atom in enumerate(atoms.tolist()):
        mine, wanted = some.chunk(place, place + 1), environments.chunk(atom, atom + 1)
        assert torch.equal(mine.vectors, wanted.vectors)
        assert torch.equal(mine.neighbour, wanted.neighbour)
    assert some.centre.diff().min() >= 0


def test_too_few_atoms_are_refused() -> None:
    model = small("csgnn")
    with pytest.raises(ValueError, match="no atoms"):
        model.atom_dos(Environments(torch.zeros(0, 3), torch.zeros(0).long(), torch.zeros(0).long(), 0))
    alone = find_environments(positions(1), CELL, PERIODIC, 3.0)
    assert model.double().atom_dos(alone).shape == (1, 9)
    with pytest.raises(ValueError, match="more than one observation"):
        model.train().atom_dos(alone)


def shares(rank: int, folder: str) -> None:
    """Train on 9 atoms in one process and 5 in another: three chunks in both."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    model = small("csgnn", chunk=3).train()
    model.atom_dos(crystal(9 - rank * 4)).sum().backward()
    norms = {int(norm.num_batches_tracked) for norm in model.modules() if isinstance(norm, NormReLU)}
    torch.save(norms, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_processes_cut_their_atoms_into_the_same_number_of_chunks(tmp_path: Path) -> None:
    # torch is imported once, by a server that the processes are forked from
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__])
    start_processes(shares, (str(tmp_path),), nprocs=2, start_method="forkserver")
    assert [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)] == [{3}, {3}]
