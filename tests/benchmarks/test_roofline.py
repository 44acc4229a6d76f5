import pytest
import torch

from benchmarks.harness import Session, measure
from benchmarks.roofline import Cost, build, costs, count_macs, entry_of, height, key_of, product_of
from benchmarks.sizes import SIZES, Size, new_model, num_vertices, outline
from tests.benchmarks.here import here as here
from tests.tolerances import EXACT, ROUNDED, approx

SIZE = Size(level=1, num_spheres=2, channels=2, base_width=1, batch=3, num_classes=5)
"""Level 1 has 42 vertices: intra 2 -> 8, intra 8 -> 8, radial 8 -> 16, radial 16 -> 16; level 0 has 12."""
ROWS = 2 * 42 * 3


def test_the_traffic_of_training_is_what_one_counts_by_hand():
    first, second, third, fourth, *_ = costs(SIZE, "training")
    x, y = 4 * ROWS * 2, 4 * ROWS * 8
    # forward: read y, write z; backward: read dz, y, read dz, y, write dy. The sum works on x, and has no gradient.
    assert first.traffic == {"norm and ReLU": 7 * y, "neighbour sums": 2 * x}
    assert second.traffic == {"norm and ReLU": 7 * y, "neighbour sums": 4 * y, "residual": 2 * y}
    assert third.traffic == {"norm and ReLU": 7 * 2 * y}
    coarse = 4 * 2 * 12 * 3 * 16
    assert fourth.traffic == {"norm and ReLU": 7 * 2 * y, "pooling": 2 * (2 * y + coarse)}
    parameters = (2 * 8 + 8 * 8) + 3 * (8 * 16 + 16 * 16) + 16 * 16 + 3 * 16 * 32 + 3 * (8 + 8 + 16 + 16 + 16 + 32)
    parameters += (48 * 512 + 3 * 512) + (512 * 256 + 3 * 256) + (256 * 5 + 5)
    assert costs(SIZE, "training")[-1] == Cost("optimiser", 0, {}, {"optimiser": 28 * parameters}, 4 * parameters)


def test_the_traffic_of_inference_in_half_precision_is_what_one_counts_by_hand():
    first, second, third, fourth, *_ = costs(SIZE, "inference", width=2)
    x, y = 2 * ROWS * 2, 2 * ROWS * 8
    assert first.traffic == {"neighbour sums": 2 * x}
    assert second.traffic == {"neighbour sums": 2 * y, "residual": y}
    assert third.traffic == {}
    assert fourth.traffic == {"pooling": 2 * y + 2 * 2 * 12 * 3 * 16}
    assert costs(SIZE, "inference")[-1].name.startswith("head")


def test_the_products_have_the_shapes_of_the_layers():
    first, second, third, *_ = costs(SIZE, "training")
    assert first.products == {"forward": ((("nn", ROWS, 2, 8),),), "weight gradient": ((("tn", 2, ROWS, 8),),)}
    assert second.products["input gradient"] == ((("nt", ROWS, 8, 8),),)
    half = ROWS // 2  # an offset of one leaves one of the two spheres
    each, together = third.products["forward"]
    assert each == (("nn", half, 8, 16), ("nn", ROWS, 8, 16), ("nn", half, 8, 16))
    assert together == (("nn", 2 * ROWS // 3, 24, 16),)
    assert third.products["input gradient"][1] == (("nt", 2 * ROWS // 3, 48, 8),)
    assert third.products["weight gradient"][1] == (("tn", 24, 2 * ROWS // 3, 16),)
    assert list(costs(SIZE, "inference")[2].products) == ["forward"]


def test_the_height_takes_the_faster_way_and_the_rate_of_a_copy():
    product = [("nn", 4, 3, count) for count in (1, 2, 3)]
    cost = Cost("layer", 10**9, {"forward": ((product[0], product[1]), (product[2],))}, {"step": 300}, 100)
    seconds = {key_of(product[0]): 1.0, key_of(product[1]): 2.0, key_of(product[2]): 4.0, "copy 100": 0.5}
    found = height([cost, cost], seconds, batch=2)
    # 300 bytes at 2 · 100 bytes in half a second: 0.75 s
    assert (found["products"], found["traffic"], found["seconds"]) == (3.0, 0.75, 3.75)
    assert found["layers"][0]["gflops_per_second"] == approx(2 / 3, **EXACT)
    seconds[key_of(product[2])] = 2.5
    assert height([cost], seconds, batch=1)["products"] == 2.5


def test_everything_in_the_roofline_is_timed(here):
    modes = ("training", "inference")
    entries = [entry_of(SIZE, dtype) for dtype in ("float32", "bfloat16")]
    measured = measure(entries, 1, Session(), "roofline")
    for dtype, width in (("float32", 4), ("bfloat16", 2)):
        seconds = {key: found["median"] for key, found in measured.times[f"roofline {dtype}"].items()}
        assert min(seconds.values()) > 0
        for mode in modes:
            assert height(costs(SIZE, mode, width), seconds, SIZE.batch)["seconds"] > 0


def test_products_are_in_half_precision_where_the_processor_has_it(monkeypatch):
    for has, expected in ((True, torch.bfloat16), (False, torch.float32)):
        found: list[torch.dtype] = []

        def note(item, buffers, found=found):
            found += [buffer.dtype for buffer in buffers]
            return product_of(item, buffers)

        monkeypatch.setattr("benchmarks.roofline.describe", lambda command, has=has: {"bf16_instructions": has})
        monkeypatch.setattr("benchmarks.roofline.product_of", note)
        build(SIZE, "bfloat16", "cpu")
        assert set(found) == {expected}


@pytest.mark.parametrize("transposed", ["nn", "nt", "tn"])
def test_a_product_of_the_roofline_is_the_product(transposed):
    m, k, n = 3, 12, 5
    left, right, result = buffers = [torch.rand(100) for _ in range(3)]
    rest = result[m * n :].clone()
    product_of((transposed, m, k, n), buffers)()
    one = left[: m * k].view(k, m).T if transposed == "tn" else left[: m * k].view(m, k)
    other = right[: k * n].view(n, k).T if transposed == "nt" else right[: k * n].view(k, n)
    torch.testing.assert_close(result[: m * n].view(m, n), one @ other, **ROUNDED)
    assert torch.equal(result[m * n :], rest)


@pytest.mark.parametrize(("level", "thousands"), [(3, 70), (4, 78), (5, 85)])
def test_with_many_spheres_the_paper_s_model_does_as_many_macs_per_grid_point_as_it_is_known_to(level, thousands):
    size = Size(level=level, num_spheres=10**6, channels=8, base_width=4, batch=3)
    assert round(count_macs(size) / (3 * 10**6 * num_vertices(level)) / 1000) == thousands


@pytest.mark.parametrize("num_spheres", [1, 2])
@pytest.mark.parametrize("num_bins", [None, 6])
def test_macs_are_those_of_the_model(num_bins, num_spheres):
    size = Size(level=2, num_spheres=num_spheres, channels=3, base_width=1, batch=4, num_bins=num_bins)
    model = new_model(size, form="reference").eval()
    found = []

    def note(module, given, result):
        # Every product sees each input channel of each row: the numbers of rows come from the features.
        features, kernel_size = given[-1], getattr(module, "kernel_size", 1)
        shifts = (abs(place - kernel_size // 2) for place in range(kernel_size))
        found.append(sum(features[: len(features) - shift].numel() for shift in shifts) * result.shape[-1])

    for name, module in model.named_modules():
        if ".intra." in name or ".radial." in name or isinstance(module, torch.nn.Linear):
            module.register_forward_hook(note)
    with torch.no_grad():
        model.forward_grid(torch.rand(num_spheres, num_vertices(2), 4, 3))
    assert found == [cost.macs for cost in costs(size, "inference")]
    assert sum(found) == count_macs(size)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert costs(size, "training")[-1].copied == 4 * parameters


def test_the_dos_size_is_the_paper_s_model():
    assert sum(parameter.numel() for parameter in outline(SIZES["dos"]).parameters()) == 1_061_998
