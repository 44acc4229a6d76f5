"""One training step and one inference of the model, from clouds in the memory of the host; in several variants."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.clock import synchronize
from benchmarks.gpu.setting import Precision, Setting, autocast
from benchmarks.sizes import Size
from csgnn_dgl.data.clouds.augmentation import Augmentation
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models import CSGNN
from csgnn_dgl.nn import NormReLU

BATCHES = 4
"""Different batches that take turns."""


def random_clouds(size: Size, num_points: int, seed: int = 0) -> Tensor:
    """Draw clouds (B, N, 3) whose largest norm is 1, each stretched in its own way."""
    generator = torch.Generator().manual_seed(seed)
    stretched = 0.1 + torch.rand(size.batch, 1, 3, generator=generator)
    return scale_to_unit_ball(stretched * torch.randn(size.batch, num_points, 3, generator=generator))


def settle_statistics(model: CSGNN, features: Tensor) -> None:
    """Give batch norm the statistics of these features, so that inference works with numbers of a usual size."""
    norms = [module for module in model.modules() if isinstance(module, NormReLU)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train().forward_grid(features)
    for norm in norms:
        norm.momentum = 0.1


class Work:
    """A model with its optimiser and data; eager until told otherwise.

    Parameters
    ----------
    setting
        Device and number of points.
    size
        The model and batch.
    precision
        Of the layers.
    options
        Further options of `CSGNN`.
    learning_rate
        Adam's. With 0 the weights stay as they are.
    """

    def __init__(
        self, setting: Setting, size: Size, precision: Precision, learning_rate: float = 2.2e-4, **options: Any
    ) -> None:
        torch.manual_seed(0)
        self.device, self.precision, self.size = setting.device, precision, size
        self.model = CSGNN(**size.model_options(), num_points=setting.num_points, form="fast", **options)
        self.model.to(self.device)
        fused: dict[str, Any] = {"fused": True, "capturable": True} if setting.cuda else {}
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=learning_rate, weight_decay=2.7e-7, **fused)
        self.augmentation = Augmentation()
        self.clouds = [self._pinned(random_clouds(size, setting.num_points, seed)) for seed in range(BATCHES)]
        self.labels = [self._pinned(torch.randint(size.num_classes, (size.batch,))) for _ in range(BATCHES)]
        self.draws = [self.draw(number) for number in range(BATCHES)]
        self.network: Callable[[Tensor], Tensor] = self.model.forward_grid
        self.learning: Callable[[Tensor, Tensor], Tensor] = self.learn
        self.classifying: Callable[[Tensor], Tensor] = self.classify
        self.count = 0
        settle_statistics(self.model, self.features(0))

    def _pinned(self, values: Tensor) -> Tensor:
        return values.pin_memory() if self.device == "cuda" else values

    def draw(self, number: int) -> Any:
        """Draw the augmentation of a batch, as a loader does on the host."""
        indices = range(number * self.size.batch, (number + 1) * self.size.batch)
        return self.augmentation.draw(0, 0, list(indices), self.clouds[0].shape[1])

    def points(self, number: int, augmented: bool = False) -> Tensor:
        """Bring a batch to the device."""
        points = self.clouds[number].to(self.device, non_blocking=True)
        return self.draws[number].apply(points) if augmented else points

    @torch.no_grad()
    def features(self, number: int, augmented: bool = False) -> Tensor:
        """Bring a batch to the device and map it."""
        return self.model.mapping(scale_to_unit_ball(self.points(number, augmented)))

    def learn(self, features: Tensor, labels: Tensor) -> Tensor:
        """Forward, cross-entropy, backward, Adam; return the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.precision, self.device):
            logits = self.network(features)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def classify(self, features: Tensor) -> Tensor:
        """Return the logits."""
        with autocast(self.precision, self.device):
            return self.network(features)

    @torch.no_grad()
    def eager_logits(self, features: Tensor) -> Tensor:
        """Return the logits that the model gives when run as written."""
        with autocast(self.precision, self.device):
            return self.model.forward_grid(features)

    def training(self) -> Tensor:
        """Do one training step on the next batch: transfer, augmentation, mapping, and `learn`."""
        number = self.count % BATCHES
        self.count += 1
        labels = self.labels[number].to(self.device, non_blocking=True)
        return self.learning(self.features(number, augmented=True), labels)

    def inference(self) -> Tensor:
        """Classify the next batch: transfer, mapping, and `classify`."""
        number = self.count % BATCHES
        self.count += 1
        return self.classifying(self.features(number))

    def eager(self) -> None:
        """Run as written."""
        self.network, self.learning, self.classifying = self.model.forward_grid, self.learn, self.classify

    def compile(self, mode: str | None) -> None:
        """Run the model through ``torch.compile``; `mode` as there."""
        compiled = torch.compile(self.model.forward_grid, mode=mode, dynamic=False)

        def network(features: Tensor) -> Tensor:
            torch.compiler.cudagraph_mark_step_begin()
            return compiled(features)

        self.network, self.learning, self.classifying = network if mode else compiled, self.learn, self.classify

    def capture_learning(self) -> None:
        """Capture forward, loss, backward and optimiser in one CUDA graph, which training then replays."""
        features, labels = self.features(0, augmented=True), self.labels[0].to(self.device)
        graph, loss = _capture(lambda: self.learn(features, labels))

        def replay(new_features: Tensor, new_labels: Tensor) -> Tensor:
            features.copy_(new_features)
            labels.copy_(new_labels)
            graph.replay()
            return loss

        self.learning = replay

    def capture_classifying(self) -> None:
        """Capture the inference from features to logits in a CUDA graph, which is then replayed."""
        features = self.features(0)
        graph, logits = _capture(lambda: self.classify(features))

        def replay(new_features: Tensor) -> Tensor:
            features.copy_(new_features)
            graph.replay()
            return logits

        self.classifying = replay

    def first_call(self, action: Callable[[], Tensor]) -> float:
        """Return the seconds of one run, until the device has finished it."""
        synchronize(self.device)
        start = time.perf_counter()
        action()
        synchronize(self.device)
        return time.perf_counter() - start


def _capture(action: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """Run an action three times to warm it up, then capture it; return the graph and the action's result."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            action()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = action()
    return graph, result
