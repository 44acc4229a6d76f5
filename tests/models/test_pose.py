"""Clouds in the frame of their principal axes."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from csgnn_dgl.geometry import icosahedral_rotations, random_rotations
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.models.classifiers.base import Classifier
from csgnn_dgl.models.pose import posed, posed_for_training, turns
from csgnn_dgl.nn import Norm
from csgnn_dgl.nn.frames import principal_frames, principal_moments
from csgnn_dgl.symmetry import so3_error
from tests.tolerances import EXACT, GRADCHECK, P_VALUE, TOLERANCE, approx

ROTATIONS = torch.tensor(random_rotations(12, np.random.default_rng(0)))
STRETCH = torch.tensor([1.0, 0.8, 0.5], dtype=torch.float64)
CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
RING = np.array([[math.cos(angle), math.sin(angle), 0.0] for angle in 2 * math.pi * np.arange(5) / 5])
TIED = {
    "cube": CORNERS,
    "tall prism": CORNERS * [1, 1, 2],
    "flat prism": CORNERS * [1, 1, 0.2],
    "tetrahedron": CORNERS[[0, 3, 5, 6]],
    "octahedron": np.concatenate([np.eye(3), -np.eye(3)]),
    "square": CORNERS[::2] * [1, 1, 0],
    "pentagon": RING,
    "pyramid": np.concatenate([RING, [[0, 0, 1.3]]]),
    "line": np.outer([-1.0, -0.5, 0.0, 1.0], [0, 0, 1]),
    "line beside the origin": np.array([[0.2, 0, z] for z in (-1.0, -0.5, 0.0, 1.0)]),
    "cube beside the origin": CORNERS + np.array([0.3, 0.2, 0.1]),
    "two points": np.array([[0, 0, 1.0], [0, 0, -1.0]]),
    "one point": np.array([[0, 0.3, 1.0]]),
}


def clouds(count=3, seed=2):
    """Clouds (B, 64, 3) with three different variances."""
    return STRETCH * torch.randn(count, 64, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model(name, pose, **config):
    """A small model with running averages that are not those of a fresh one, in float64."""
    kind = CLASSIFIERS[name]
    torch.manual_seed(1)
    made = kind(**{**kind.tiny, "num_classes": 5, "pose": pose, **config}).double()
    for module in made.modules():
        if isinstance(module, (Norm, nn.modules.batchnorm._BatchNorm)):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
    return made.eval()


@pytest.mark.parametrize("pose", ["principal", "principal24"])
@pytest.mark.parametrize("name", ["csgnn", "csgnn_mixed", "pointnet", "sfcnn", "riconv"])
def test_a_posed_model_answers_alike_under_any_rotation(name, pose, dtype):
    network, points = model(name, pose).to(dtype), clouds()
    assert network.symmetry == "SO3"
    with torch.no_grad():
        wanted = network(points.to(dtype))
        assert wanted.std(dim=0).max() > 0
        turned = torch.cat([points @ rotation.T for rotation in ROTATIONS])
        found = network(turned.to(dtype)).unflatten(0, (len(ROTATIONS), len(points)))
    torch.testing.assert_close(found, wanted.expand_as(found), **TOLERANCE[dtype])


@pytest.mark.parametrize("name", TIED)
def test_clouds_with_equal_variances_have_a_pose_too(name):
    points = torch.tensor(TIED[name])[None]
    network = model("csgnn", "principal", level=2, num_points=points.shape[1])
    with torch.no_grad():
        wanted = network(points)
        found = network(torch.cat([points @ rotation.T for rotation in ROTATIONS]))
    torch.testing.assert_close(found, wanted.expand_as(found), **TOLERANCE[torch.float64])


def test_without_a_pose_rotations_are_felt():
    found = {pose: so3_error(model("csgnn", pose), clouds(), angles=[70.0]) for pose in ("none", "principal")}
    error = {pose: measured.relative_error[0] for pose, measured in found.items()}
    assert error["principal"] < 1e-10 < 1e-6 < error["none"]


def test_frames_are_those_of_a_singular_value_decomposition():
    points = clouds() + 1
    frames, moments = principal_frames(points), principal_moments(points)
    for cloud, frame, moment in zip(points.numpy(), frames.numpy(), moments.numpy(), strict=True):
        centred = cloud - cloud.mean(axis=0)
        _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
        assert moment == approx(lengths**2 / len(cloud), **EXACT)
        assert np.abs(axes @ frame) == approx(np.eye(3), **TOLERANCE[torch.float64])
        assert np.linalg.det(frame) == approx(1.0, **EXACT)


def test_turns_are_the_frames_that_a_model_tells_apart():
    cube = {tuple(np.round(rotation, 9).ravel() + 0.0) for rotation in Rotation.create_group("O").as_matrix()}
    assert {tuple(turn.ravel() + 0.0) for turn in turns("principal24", "none")} == cube
    own = icosahedral_rotations()
    covered = {
        tuple(np.round(turn @ rotation, 9).ravel() + 0.0)
        for turn in turns("principal24", "icosahedral")
        for rotation in own
        if tuple(np.round(rotation, 9).ravel() + 0.0) in cube
    }
    assert covered == cube
    for flip in turns("principal", "none"):
        assert np.abs(own - flip).max(axis=(1, 2)).min() == 0
    assert [len(turns("principal", symmetry)) for symmetry in ("none", "icosahedral", "SO3")] == [4, 1, 1]
    assert [len(turns("principal24", symmetry)) for symmetry in ("none", "icosahedral", "SO3")] == [24, 2, 1]


def test_the_logits_are_the_mean_over_the_turns():
    network, points = model("pointnet", "principal24"), clouds()
    plain = model("pointnet", "none")
    plain.load_state_dict(network.state_dict())
    with torch.no_grad():
        own = posed(points / points.norm(dim=-1).amax(dim=1)[:, None, None])
        each = [plain(own @ torch.tensor(turn).T) for turn in turns("principal24", "none")]
        torch.testing.assert_close(network(points), torch.stack(each).mean(dim=0), **TOLERANCE[torch.float64])


def test_gradients_of_the_points_include_the_turning():
    network, points = model("pointnet", "principal"), clouds(1).requires_grad_()
    (gradient,) = torch.autograd.grad(network(points)[0, 0], points)
    # What does not change under rotations has no torque.
    torque = torch.linalg.cross(points[0], gradient[0]).sum(dim=0)
    assert gradient.abs().max() > 1e-6
    torch.testing.assert_close(torque, torch.zeros_like(torque), **TOLERANCE[torch.float64])

    def even(cloud):
        return posed(cloud).square().sum(dim=1) + posed(cloud).abs().pow(3).sum(dim=1)

    small = clouds(2)[:, :9].clone().requires_grad_()
    assert torch.autograd.gradcheck(even, (small,), **GRADCHECK)
    assert torch.autograd.gradgradcheck(even, (small,), **GRADCHECK)


def test_in_training_frames_are_turned_as_far_as_they_are_uncertain():
    points = clouds(1).expand(4000, -1, -1)
    torch.manual_seed(0)
    found = posed_for_training(points, torch.eye(3)[None])
    back = (torch.linalg.pinv(posed(points[:1])[0]) @ found[:1000]).mT.numpy()
    angles = Rotation.from_matrix(back).as_rotvec()
    moments = principal_moments(points[:1])[0].numpy()
    for axis, (one, other) in enumerate([(1, 2), (2, 0), (0, 1)]):
        wanted = math.sqrt(moments[one] * moments[other] / 64) / abs(moments[one] - moments[other])
        share = (angles[:, axis] ** 2).sum() / wanted**2
        assert share == approx(1000, rtol=0.0, atol=6 * math.sqrt(2000)), P_VALUE


def test_in_training_each_cloud_has_one_of_the_turns():
    cloud = torch.tensor(CORNERS * [3, 2, 1])
    many = cloud.repeat(1, 4000, 1)  # so many points that the axes are certain
    torch.manual_seed(0)
    found = posed_for_training(many.expand(64, -1, -1), torch.tensor(turns("principal", "none")))[:, :8]
    signs = (found * posed(cloud[None])).sum(dim=1).sign()
    kinds, counts = np.unique(signs.numpy(), axis=0, return_counts=True)
    assert len(kinds) == 4 and (kinds.prod(axis=1) == 1).all() and counts.min() >= 5


def test_what_cannot_be_posed_is_refused():
    class Own(Classifier):
        def forward(self, points):
            return points

    with pytest.raises(ValueError, match="Own has a forward of its own, which knows none; call it forward_points"):
        Own(pose="principal")
    with pytest.raises(ValueError, match="pose must be one of none, principal, principal24, not 'upright'"):
        Own(pose="upright")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="smoothing must be at least 0 and below 1, not 1"):
        Own(smoothing=1)
    with pytest.raises(TypeError, match="Classifier does not say how it classifies; give it a method forward_points"):
        Classifier()


def test_what_points_carry_stays_beside_them():
    points = torch.cat([clouds(), torch.rand(3, 64, 2, dtype=torch.float64)], dim=2)
    network = model("csgnn", "principal", num_features=2)
    with torch.no_grad():
        wanted = network(points)
        for rotation in ROTATIONS[:4]:
            turned = torch.cat([points[..., :3] @ rotation.T, points[..., 3:]], dim=2)
            torch.testing.assert_close(network(turned), wanted, **TOLERANCE[torch.float64])
        assert (network(torch.cat([points[..., :3], points[..., 3:].flip(1)], dim=2)) - wanted).abs().max() > 1e-6
    assert torch.equal(network.pose_for_training(points)[..., 3:], points[..., 3:])
