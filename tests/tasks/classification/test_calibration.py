"""Temperature and reliability, against sums written down naively."""

import numpy as np
import pytest
import torch

from csgnn_dgl.tasks.classification.calibration import Reliability, fit_temperature
from tests.tolerances import COARSE, EXACT, TOLERANCE, approx


def made(temperature: float, count: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are too large by a factor, and labels drawn from the probabilities that they stand for."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, 4, generator=generator).double() * 2
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return logits * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_logits_is_found(temperature: float) -> None:
    assert fit_temperature(*made(temperature)) == approx(temperature, **TOLERANCE[torch.bfloat16])


def test_answers_that_are_all_right_make_nobody_certain() -> None:
    labels = torch.arange(100) % 4
    logits = torch.nn.functional.one_hot(labels, 4).double() * 3
    # the least cross-entropy is where every answer has probability 1 - 1/(n + 2)
    wrong = 1 / 102
    wanted = 3 / np.log((1 - wrong) / (wrong / 3))
    assert fit_temperature(logits, labels) == approx(wanted, **COARSE)


def test_reliability_is_that_of_a_naive_loop() -> None:
    logits, labels = made(2.0, 500)
    probabilities = logits.softmax(dim=1)
    found = Reliability.of(probabilities, labels, num_bins=7)
    error = 0.0
    for place in range(7):
        inside = [
            (float(row.max()), bool(row.argmax() == label))
            for row, label in zip(probabilities, labels, strict=True)
            if place / 7 <= float(row.max()) < (place + 1) / 7
        ]
        assert found.counts[place] == len(inside)
        if inside:
            confidence, accuracy = np.mean(inside, axis=0)
            assert found.confidence[place] == approx(confidence, **EXACT)
            assert found.accuracy[place] == approx(accuracy, **EXACT)
            error += len(inside) / 500 * abs(confidence - accuracy)
    assert found.error == approx(error, **EXACT)


def test_certainty_belongs_to_the_last_bin() -> None:
    found = Reliability.of(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert found.counts.tolist() == [0] * 14 + [1]
    assert found.error == 0.0
