import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from csgnn_dgl.training import Plateau, cosine, one_cycle


def optimizer(rate=2e-3):
    return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=rate, betas=(0.9, 0.999))


def follow(chosen, scheduler, steps):
    """Rates and momenta that torch's own scheduler sets for each step."""
    seen = []
    for _ in range(steps):
        group = chosen.param_groups[0]
        seen.append((group["lr"], group["betas"][0]))
        chosen.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("total", [10, 37, 3070])
def test_one_cycle_is_torchs_one_cycle(total):
    chosen = optimizer()
    expected = follow(chosen, OneCycleLR(chosen, max_lr=2e-3, total_steps=total), total - 1)
    for step, (rate, momentum) in enumerate(expected):
        assert one_cycle(step, total, 2e-3) == (pytest.approx(rate, rel=1e-9), pytest.approx(momentum, rel=1e-9))


def test_one_cycle_reaches_its_peak_and_stays_at_its_end():
    rates = [one_cycle(step, 1000, 2e-3)[0] for step in range(1000)]
    assert max(rates) == pytest.approx(2e-3)
    assert rates.index(max(rates)) == 299
    assert rates[0] == pytest.approx(2e-3 / 25)
    assert rates[-1] == pytest.approx(2e-3 / 25 / 1e4)
    assert one_cycle(2000, 1000, 2e-3)[0] == rates[-1]
    assert one_cycle(0, 1, 2e-3)[0] > 0  # a training of one step


def test_cosine_is_torchs_cosine():
    chosen = optimizer()
    expected = follow(chosen, CosineAnnealingLR(chosen, T_max=50), 50)
    for step, (rate, _) in enumerate(expected):
        assert cosine(step, 50, 2e-3) == pytest.approx(rate, rel=1e-6)
    assert cosine(50, 50, 2e-3) == 0.0
    assert cosine(60, 50, 2e-3) == 0.0


def test_plateau_is_torchs_plateau():
    generator = torch.Generator().manual_seed(3)
    losses = [1.0 / (1 + 0.1 * step) for step in range(20)] + (
        0.34 + 0.01 * torch.rand(60, generator=generator)
    ).tolist()
    losses[30] = math.nan
    chosen = optimizer(2.2e-4)
    scheduler = ReduceLROnPlateau(
        chosen, mode="min", factor=0.1, patience=4, threshold=1e-3, threshold_mode="rel", eps=0
    )
    ours = Plateau(2.2e-4)
    for loss in losses:
        scheduler.step(loss)
        assert ours.update(loss) == pytest.approx(chosen.param_groups[0]["lr"], rel=1e-12)
        assert ours.bad_epochs == scheduler.num_bad_epochs
        assert ours.best == scheduler.best
    assert ours.rate < 1e-5


def test_plateau_falls_after_more_than_patience_epochs():
    plateau = Plateau(1.0, factor=0.1, patience=2, threshold=1e-3)
    rates = [plateau.update(loss) for loss in (1.0, 0.9995, 1.0, 1.0, 0.5, 0.6, 0.6, 0.6)]
    assert rates == [
        1.0,
        1.0,
        1.0,
        pytest.approx(0.1),
        pytest.approx(0.1),
        pytest.approx(0.1),
        pytest.approx(0.1),
        pytest.approx(0.01),
    ]


def test_plateau_goes_on_from_its_state():
    one = Plateau(1.0, patience=1)
    for loss in (1.0, 2.0):
        one.update(loss)
    other = Plateau(5.0, patience=1)
    other.load_state_dict(one.state_dict())
    assert [one.update(2.0), one.update(2.0)] == [other.update(2.0), other.update(2.0)]
    assert other.rate == pytest.approx(0.1)
