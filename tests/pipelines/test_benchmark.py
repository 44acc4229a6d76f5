import json

import pytest
import torch

from benchmarks import harness, machine, ratios, suite
from pipelines.benchmark import main
from tests.benchmarks.here import here as here
from tests.tolerances import EXACT, TOLERANCE, approx, relative
from tests.toy_shapes import write_shapes

PNG = b"\x89PNG"
AVX512 = {"vector_instructions": "AVX512", "bf16_instructions": True}


@pytest.fixture
def failing(work, capsys):
    """Run a command that must fail and return its one sentence."""

    def run(*words):
        assert main(words) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1
        return shown.err

    return run


def read(folder, name, drawn=False):
    assert not drawn or (folder / f"{name}.png").read_bytes()[:4] == PNG
    return json.loads((folder / f"{name}.json").read_text())


def test_speed_prints_a_table_and_keeps_everything(work, capsys, here):
    words = ["--sizes", "tiny", "--repeats", "2", "--threads", "1", "--verbose"]
    assert main([*words, "--contenders", "auto", "auto-bf16", "composition-as-is"]) == 0
    shown = capsys.readouterr().out
    assert "tiny: level 1, R = 2, C = 2, F = 1, batch 4; per sample" in shown
    assert "roofline of training in bfloat16, per sample" in shown
    document = read(work / "runs" / "benchmark", "speed", drawn=True)
    assert document["machine"]["threads"] == 1
    assert document["machine"]["command"].startswith("python -m pipelines.benchmark speed --sizes tiny")
    assert {"torch", "dgl", "numpy"} <= set(document["machine"]["versions"])
    result = document["sizes"]["tiny"]
    times = result["seconds_per_sample"]
    assert [len(times[name][mode]["all"]) for name in times for mode in times[name]] == [2] * 6
    assert result["opponent"] == "composition-as-is"
    expected = times["composition-as-is"]["training"]["median"] / times["auto"]["training"]["median"]
    assert result["speedups"]["auto"]["training"] == approx(expected, **EXACT)
    share = result["roofline"]["bfloat16"]["inference"]["seconds"] / times["auto-bf16"]["inference"]["median"]
    assert result["share_of_roofline"]["auto-bf16"]["inference"] == approx(share, **EXACT)
    assert result["differences"]["composition-as-is"] < TOLERANCE[torch.float32]["rtol"]


def test_speed_of_the_model_of_the_dos(work, capsys, here):
    words = ["speed", "--sizes", "dos", "--batch", "16", "--repeats", "1", "--contenders", "auto", "composition-as-is"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "dos: density of states, level 3, R = 1, C = 32, F = 4, batch 16; per environment" in shown
    result = read(work / "runs" / "benchmark", "speed")["sizes"]["dos"]
    assert set(result["speedups"]["auto"]) == set(result["share_of_roofline"]["auto"]) == {"training", "inference"}
    assert set(result["differences"]) == {"composition-as-is"}


def test_speed_of_inference_alone(work, capsys, here):
    words = ["speed", "--sizes", "tiny", "--repeats", "1", "--contenders", "auto", "--modes", "inference"]
    assert main([*words, "--no-roofline", "--batch", "2", "--output", "here"]) == 0
    result = read(work / "here", "speed")["sizes"]["tiny"]
    assert result["size"]["batch"] == 2
    assert (result["opponent"], result["speedups"], result["roofline"], result["share_of_roofline"]) == (
        None,
        {},
        {},
        {},
    )
    assert "training" not in capsys.readouterr().out.split("|")[2]


def test_memory(work, capsys, here, monkeypatch):
    peaks = iter([7e6, 11e6])
    monkeypatch.setattr(harness, "held", lambda device: 3e6)
    monkeypatch.setattr(harness, "peak", lambda device: next(peaks))
    words = ["memory", "--sizes", "tiny", "--contenders", "auto", "composition-as-is"]
    assert main([*words, "--output", "here"]) == 0
    taken = read(work / "here", "memory")["sizes"]["tiny"]["bytes"]
    assert {name: found["added"] for name, found in taken.items()} == {"auto": 4e6, "composition-as-is": 8e6}
    assert "50 %" in capsys.readouterr().out


def test_layers(work, capsys, here):
    words = ["layers", "--sizes", "tiny", "--repeats", "1", "--contenders", "auto", "fast", "--threads", "1"]
    assert main([*words, "--output", "here"]) == 0
    result = read(work / "here", "layers")["sizes"]["tiny"]
    names = ["level 1: intra 2 -> 8", "level 0: radial 16 -> 32", "level 0: norm 32", "level 1: pool 16"]
    assert {*names, "level 1: block 16"} <= set(result["seconds"])
    for times in result["seconds"].values():
        assert [list(of_name) for of_name in times.values()] == [["forward", "forward and backward"]] * 2
    assert "fast, times as fast as auto" in capsys.readouterr().out


def test_modes_that_save_memory(work, capsys, here):
    words = ["modes", "--level", "1", "--num_spheres", "2", "--base_width", "1", "--batch", "4"]
    assert main([*words, "--memory_modes", "recompute", "--output", "here"]) == 0
    found = read(work / "here", "modes")["modes"]["recompute"]
    assert len(found) == 2
    assert all(one["peak"] > 0 and one["seconds"] > 0 for one in found)
    assert "keeping blocks: peak, GB" in capsys.readouterr().out


def test_mapping_and_loading(work, capsys, here):
    source = str(write_shapes(work / "shapes"))
    words = ["mapping", "--level", "1", "--num_spheres", "2", "--num_points", "30", "--batch", "2", "--size", "tiny"]
    words += ["--source", source]
    assert main([*words, "--repeats", "1", "--output", "here"]) == 0
    document = read(work / "here", "mapping")
    assert set(document["seconds_per_cloud"]) == {
        "prism",
        "shell",
        "prism, point by point",
        "shell, point by point",
    }
    assert set(document["seconds_per_batch"]) == {"loading", "training"}
    assert "batches/s" in capsys.readouterr().out


def test_table4(work, capsys, here):
    words = ["table4", "--level", "1", "--num_spheres", "2", "--levels", "3", "2", "--counts", "1", "8", "9"]
    assert main([*words, "--base_width", "1", "--batch", "2", "--repeats", "1", "--output", "here"]) == 0
    document = read(work / "here", "table4", drawn=True)
    assert [row["size"]["num_spheres"] for row in document["spheres"]] == [1, 8, 9]
    assert [row["size"]["level"] for row in document["levels"]] == [3, 2]
    row = document["spheres"][1]
    per_mac = row["seconds_per_sample"]["training"]["median"] / row["macs_per_sample"]
    assert row["seconds_per_mac"]["training"] == approx(per_mac, **relative(EXACT))
    shown = capsys.readouterr().out
    assert "paper, 1 to 32 spheres: x4" in shown
    assert "over spheres, from 8 up: training" in shown
    assert "levels, from 3 up" not in shown  # a single one has no spread


def test_startup_names_heavy_modules(work, capsys):
    assert main(["startup", "--level", "1", "--num_spheres", "2", "--repeats", "1", "--output", "here"]) == 0
    result = read(work / "here", "startup")
    parts = ["import csgnn_dgl", "first use of CSGNN", "ConcentricGrid", "heterograph of the finest level"]
    assert list(result["seconds"]) == [*parts, "tables of all levels", "grid, together"]
    assert result["heavy"] == []
    assert "beyond those of torch and dgl: none" in capsys.readouterr().out


def test_check_stores_compares_and_fails(work, capsys, monkeypatch):
    words = ["check", "--size", "tiny", "--ratios", "r.json", "--slack", "0.5"]
    measured = {"speedups": {"auto": {"training": 2.0, "inference": 3.0}}}
    monkeypatch.setattr(suite, "measure_speed", lambda *args, **options: measured)
    taken = {"sizes": {"tiny": {"bytes": {"auto": {"added": 1}, "composition-as-is": {"added": 4}}}}}
    monkeypatch.setattr(suite, "memory", lambda *args: suite.Outcome(taken))
    assert main([*words, "--store"]) == 0
    wanted = {"auto, training": 2.0, "auto, inference": 3.0, "auto, memory": 4.0}
    assert ratios.read(machine.describe(None, ""), work / "r.json") == wanted
    assert main(words) == 0
    measured["speedups"]["auto"]["training"] = 0.9
    capsys.readouterr()
    assert main(words) == 1
    shown = capsys.readouterr().out
    assert "worse by 55 %" in shown
    assert "worse than stored by more than 50 %: find the change" in shown


def test_the_stored_ratios_are_readable():
    for kind in ({"vector_instructions": "AVX2", "bf16_instructions": False}, AVX512):
        stored = ratios.read(kind)
        assert {"auto, training", "auto, inference", "auto, memory"} <= set(stored)
        assert min(stored.values()) > 0


def test_what_cannot_be_measured_is_one_sentence(failing):
    assert "invalid choice: 'huge'" in failing("speed", "--sizes", "huge")
    assert "'0' is no whole number of at least 1" in failing("--repeats", "0")
    assert "argument --level: invalid choice: 9" in failing("table4", "--level", "9")
    assert "'2' is no share from 0 up to 1" in failing("check", "--slack", "2")
    assert "'much' is no share" in failing("check", "--slack", "much")
    assert "'nothing'" in failing("nothing")
    assert "none.json holds no ratios" in failing("check", "--ratios", "none.json")
    assert "invalid choice: 'pyg'" in failing("speed", "--contenders", "pyg")


def test_help(work, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for name in ("speed", "memory", "mapping", "table4", "startup", "check", "layers", "modes"):
        assert name in shown
