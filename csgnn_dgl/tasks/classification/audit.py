"""An audit of classifiers: what an answer depends on besides the shape of its own cloud."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from csgnn_dgl.data.clouds.augmentation import rotate_clouds
from csgnn_dgl.errors import InputError, check_counts, reason
from csgnn_dgl.geometry import icosahedral_rotations, random_rotations
from csgnn_dgl.geometry.icosphere import FloatArray
from csgnn_dgl.models.base import Symmetry
from csgnn_dgl.tasks.classification.data import PROTOCOLS, Validation

Classify = Callable[[Tensor], Tensor]
"""What maps points (B, N, 3) to logits (B, C)."""

Judgement = Literal["fine", "noted", "wrong", "unknown"]

ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Relative changes of logits up to which the roundings of a deep network may explain them."""

EXCEPT = 0.05
"""Share of answers that may change by more under a transformation: ties of distances are broken by rounding."""

POINTS = 0.005
"""Standard deviation below which an accuracy is repeatable: half a percentage point."""

PER_CLASS = 5
"""Clouds of a class, where an audit cannot have all."""

NUM_EQUALS = 4
"""Copies of a cloud in a batch of its own."""

SHIFT, FACTOR = (0.3, -0.2, 0.1), 1.7
"""How far clouds of the unit ball are moved, and by how much they are scaled."""

NUM_DRAWS = 100
"""Repetitions of a vote that are drawn from the rotated copies."""

Z, SIXTY, ANY = "rotations about the vertical axis", "the 60 rotations of the icosahedron", "any rotation"
PROMISED: dict[str, tuple[Symmetry, ...]] = {Z: ("SO3",), SIXTY: ("icosahedral", "SO3"), ANY: ("SO3",)}
"""The symmetries that promise that these change nothing."""


@dataclass(frozen=True)
class Verdict:
    """The answer to one question of an audit.

    Attributes
    ----------
    question
        What was asked.
    verdict
        ``"fine"``; ``"noted"``, which is good to know and expected of many methods; ``"wrong"``, which makes reported
        accuracies untrustworthy; or ``"unknown"``, where it could not be told.
    measured
        What was measured: of dependences, the relative change ‖f(x') - f(x)‖ / ‖f(x)‖ of the logits that all answers
        (of those to transformed clouds, 95 % of them) stay below.
    threshold
        What it was held against.
    text
        The rest, in words.
    """

    question: str
    verdict: Judgement
    measured: float | None
    threshold: float | None
    text: str


def audit(
    model: Classify,
    points: Tensor,
    labels: Tensor | None = None,
    *,
    symmetry: Symmetry | None = None,
    trained: bool = True,
    validation: Validation | None = None,
    test_size: int | None = None,
    batch_size: int = 16,
    copies: int = 8,
    seed: int = 0,
) -> list[Verdict]:
    """Ask a classifier what its answers depend on.

    A module is copied to the CPU, switched to evaluation mode and, where it can be, to float64, in which roundings and
    dependences are far apart; a function gets float32. The norms of an untrained module meet the clouds once before.

    Parameters
    ----------
    model
        Maps points (B, N, 3) to logits (B, C).
    points
        (S, N, 3) clouds of a test split, as the model gets them there.
    labels
        (S,) their classes: the order of a list that is sorted by class, and what accuracies are of.
    symmetry
        Rotations under which the model promises the same answer; by default its attribute ``symmetry``, if any.
    trained
        Whether accuracies mean anything.
    validation
        What picked the weights: ``"split"``, a part of the training split, or ``"test"``; None where it is not known.
    test_size
        Number of clouds of the test split that accuracies are reported on; by default S.
    batch_size
        Clouds of a batch.
    copies
        Rotated copies of each cloud, at least 2.
    seed
        Seed of all that is drawn.

    Returns
    -------
    list of Verdict
        One for each question.

    Raises
    ------
    InputError
        If the model cannot be called with one cloud, or gives something else than finite logits (B, C).
    """
    check_counts(2, copies=copies, clouds=len(points))
    check_counts(batch_size=batch_size)
    declared = symmetry or getattr(model, "symmetry", None)
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of models that take another number of points
        torch.manual_seed(seed)
        asked = _Asked(model, points, batch_size, trained)
        usable = trained and labels is not None and int(labels.max()) < asked.alone.shape[1]
        known = labels if usable else None
        found = [_any_difference(asked), _chance(asked), *_company(asked, labels, known, rng)]
        for name, changed in _transformed(asked.points, rng).items():
            found.append(_dependence(asked, name, asked.answers(changed)))
        found.append(_repeated(asked))
        for name, rotations in _rotations(len(points), copies, rng).items():
            turned = [asked.answers(rotate_clouds(asked.points, torch.from_numpy(of_all))) for of_all in rotations]
            found.append(_dependence(asked, name, torch.stack(turned), declared))
        found.append(_votes(torch.stack(turned), known, test_size or len(points), rng))
    return [*found, _selection(validation)]


def choose(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Choose clouds of a split for an audit, sorted by class: several of each class, of as many classes as fit.

    Parameters
    ----------
    labels
        (T,) classes.
    count
        Number of clouds; all where there are no more.

    Returns
    -------
    numpy.ndarray
        Places of the clouds: those of a class are neighbours, so that it can be asked what equals do to each other.
    """
    classes = np.unique(labels)
    first = set(classes[:: -(-len(classes) // max(count // PER_CLASS, 1))].tolist())
    ranked = sorted(
        (one not in first, rank, one, place)
        for one in classes.tolist()
        for rank, place in enumerate(np.flatnonzero(labels == one).tolist())
    )
    return np.array([place for *_, place in sorted(ranked[:count], key=lambda item: item[2:])])


class _Asked:
    """A model to ask, and its answers to the clouds as they are."""

    def __init__(self, model: Classify, points: Tensor, batch_size: int, trained: bool) -> None:
        self.model, self.points, self.batch_size = model, points.float(), batch_size
        if isinstance(model, nn.Module):
            self.model = copy.deepcopy(model).cpu().eval()
            self._try_float64(points)
            if not trained:
                self._meet(self.model)
        self.bound = ROUNDING[self.points.dtype]
        places = torch.arange(len(points))
        self.alone = self.in_batches(places.split(1))
        self.reference = self.in_batches(places.split(batch_size))

    def _try_float64(self, points: Tensor) -> None:
        exact = copy.deepcopy(self.model).double()  # type: ignore[attr-defined]
        try:
            fine = exact(points[:1].double()).dtype == torch.float64
        except Exception:  # a module of the user's may refuse in any way
            return
        if fine:
            self.model, self.points = exact, points.double()

    def _meet(self, model: nn.Module) -> None:
        """Give the norms of an untrained model running averages of what they meet: fresh ones may let nothing pass."""
        self.model = model.train()
        for batch in self.points.split(self.batch_size):
            if len(batch) > 1:
                self.logits(batch)
        model.eval()

    def answers(self, points: Tensor) -> Tensor:
        """Return the logits (S, C) of clouds in the batches of the reference."""
        return torch.cat([self.logits(batch) for batch in points.split(self.batch_size)])

    def in_batches(self, batches: Iterable[Tensor]) -> Tensor:
        """Return the logits (S, C) of all clouds as they are, asked in batches of these places."""
        places = list(batches)
        found = torch.cat([self.logits(self.points[batch]) for batch in places])
        return torch.empty_like(found).index_copy_(0, torch.cat(places), found)

    def logits(self, batch: Tensor) -> Tensor:
        """Return the logits (B, C) of a batch, in float64."""
        try:
            found = self.model(batch)
        except Exception as error:
            raise InputError(
                f"the model cannot be called with points {tuple(batch.shape)} ({reason(error)}); give one that can"
            ) from error
        if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != len(batch):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(f"the model answers {len(batch)} clouds by {shape}; let it return logits (B, classes)")
        if not found.isfinite().all():
            raise InputError("the model's logits are not finite; mend it, or give other clouds")
        return found.double().cpu()


def _relative(answers: Tensor, reference: Tensor) -> Tensor:
    tiny = torch.finfo(reference.dtype).tiny
    return (answers - reference).norm(dim=-1) / reference.norm(dim=-1).clamp_min(tiny)


def _changed(answers: Tensor, reference: Tensor) -> float:
    return float((answers.argmax(dim=-1) != reference.argmax(dim=-1)).double().mean())


def _any_difference(asked: _Asked) -> Verdict:
    question = "its own cloud at all"
    change = float(_relative(asked.alone, asked.alone.mean(dim=0)).max())
    if change > asked.bound:
        named = len(asked.alone.argmax(dim=1).unique())
        return Verdict(question, "fine", change, asked.bound, f"{named} classes are named")
    return Verdict(question, "wrong", change, asked.bound, "all get the same answer, so that nothing below says much")


def _chance(asked: _Asked) -> Verdict:
    again = asked.answers(asked.points)
    change = float(_relative(again, asked.reference).max())
    question = "chance: the same call again"
    if change <= asked.bound:
        return Verdict(question, "fine", change, asked.bound, "the same answers")
    threshold, asked.bound = asked.bound, 2 * change  # what is drawn must not be taken for a dependence
    text = f"{_changed(again, asked.reference):.1%} of classes change; the bounds below are twice this change"
    return Verdict(question, "noted", change, threshold, text)


def _company(asked: _Asked, labels: Tensor | None, known: Tensor | None, rng: np.random.Generator) -> Iterator[Verdict]:
    """Ask for each cloud in several kinds of company, and compare with what is said when it is alone."""
    count = len(asked.points)
    shuffled = torch.from_numpy(rng.permutation(count)).split(asked.batch_size)
    order = asked.alone.argmax(dim=1) if labels is None else labels
    by_class = [part for one in order.unique() for part in (order == one).nonzero()[:, 0].split(asked.batch_size)]
    equals = torch.cat([asked.logits(cloud.expand(NUM_EQUALS, -1, -1))[:1] for cloud in asked.points.split(1)])
    kinds = {
        "its batch: clouds of all classes": asked.in_batches(shuffled),
        "its batch: clouds of its own class": asked.in_batches(by_class),
        "its batch: copies of itself": equals,
    }
    for question, answers in kinds.items():
        change = float(_relative(answers, asked.alone).max())
        text = f"{_changed(answers, asked.alone):.1%} of classes are others than alone"
        if known is not None:
            pair = [float((found.argmax(dim=1) == known).double().mean()) for found in (asked.alone, answers)]
            text += f"; accuracy {pair[0]:.1%} alone, {pair[1]:.1%} in this company"
        yield Verdict(question, "fine" if change <= asked.bound else "wrong", change, asked.bound, text)


def _transformed(points: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
    """Return all clouds with changes that leave the shapes as they are."""
    count, size, _ = points.shape
    order = torch.from_numpy(rng.permuted(np.tile(np.arange(size), (count, 1)), axis=1))
    return {
        "the order of its points": points.gather(1, order[..., None].expand(-1, -1, 3)),
        "translation": points + points.new_tensor(SHIFT),
        "scale": points * FACTOR,
    }


def _repeated(asked: _Asked) -> Verdict:
    """Give a quarter of the points twice, which a model that wants so many points and no more refuses."""
    question = "points that are given twice"
    points = asked.points
    try:
        answers = asked.answers(torch.cat([points, points[:, : max(points.shape[1] // 4, 1)]], dim=1))
    except InputError as error:
        return Verdict(question, "unknown", None, asked.bound, str(error))
    return _dependence(asked, question, answers)


def _rotations(count: int, copies: int, rng: np.random.Generator) -> dict[str, list[FloatArray]]:
    """Return rotations (S, 3, 3) for each copy of all clouds; that by nothing is not among the 60."""
    sixty = icosahedral_rotations()
    return {
        Z: [random_rotations(count, rng, "z") for _ in range(copies)],
        SIXTY: [sixty[rng.integers(1, len(sixty), count)] for _ in range(copies)],
        ANY: [random_rotations(count, rng) for _ in range(copies)],
    }


def _dependence(asked: _Asked, question: str, answers: Tensor, declared: str | None = None) -> Verdict:
    """Compare the answers (..., S, C) to changed clouds with those to the clouds."""
    changes = _relative(answers, asked.reference).flatten()
    change = float(changes.quantile(1 - EXCEPT, interpolation="lower"))
    mean = float(changes.mean())
    text = f"{_changed(answers, asked.reference):.1%} of classes change, the logits by {mean:.2g} on average"
    if change <= asked.bound:
        return Verdict(question, "fine", change, asked.bound, text)
    if declared not in PROMISED.get(question, ()):
        return Verdict(question, "noted", change, asked.bound, text)
    return Verdict(question, "wrong", change, asked.bound, f"the model declares the symmetry {declared!r}, but {text}")


def _votes(answers: Tensor, labels: Tensor | None, test_size: int, rng: np.random.Generator) -> Verdict:
    """Find the number of rotated copies (copies, S, C) whose mean probabilities make the accuracy repeatable."""
    question = "votes that a reported accuracy needs"
    if labels is None:
        return Verdict(question, "unknown", None, POINTS, "asks for a trained model and clouds of its classes")
    views = answers.softmax(dim=-1)
    clouds = torch.arange(len(labels))
    spread = []
    for votes in range(1, len(views) + 1):
        drawn = torch.from_numpy(rng.integers(len(views), size=(NUM_DRAWS, votes, len(labels))))
        right = (views[drawn, clouds].mean(dim=1).argmax(dim=-1) == labels).double().mean(dim=0)
        # draws from the copies at hand vary less than draws from all rotations, by the factor of sample variances
        variance = (right * (1 - right)).sum() * len(views) / (len(views) - 1)
        spread.append(float(variance.sqrt()) / math.sqrt(len(labels) * test_size))
    accuracy = float((views.argmax(dim=-1) == labels).double().mean())
    text = f"one vote: {accuracy:.1%}, and ±{spread[0]:.2%} from repetition to repetition on {test_size} shapes"
    needed = next((votes for votes, value in enumerate(spread, start=1) if value < POINTS), None)
    if needed is None:
        needed = math.ceil(len(views) * (spread[-1] / POINTS) ** 2)
        text += "; extrapolated"
    return Verdict(question, "fine" if needed == 1 else "noted", needed, POINTS, text)


def _selection(validation: Validation | None) -> Verdict:
    question = "the test split, read for selection"
    if validation is None:
        return Verdict(question, "unknown", None, None, "what picked the weights is not known")
    judgement: Judgement = "wrong" if validation == "test" else "fine"
    return Verdict(question, judgement, None, None, f"validated on {PROTOCOLS[validation]}")
