import json

import pytest
import torch

from benchmarks import harness, ratios, suite
from benchmarks.harness import describe
from csgnn_dgl.errors import InputError
from pipelines.benchmark import main
from tests.benchmarks.here import here as here
from tests.tolerances import EXACT, TOLERANCE, approx, relative

PNG = b"\x89PNG"
AVX512 = {"processor": "AMD EPYC", "vector_instructions": "AVX512", "bf16_instructions": True}
AVX2 = {"processor": "AMD EPYC", "vector_instructions": "AVX2", "bf16_instructions": False}
INTEL = {**AVX512, "processor": "Intel(R) Xeon(R) Processor"}


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
    words = ["--sizes", "tiny", "--repeats", "2", "--verbose"]
    assert main([*words, "--contenders", "auto", "auto-bf16", "composition-as-is"]) == 0
    shown = capsys.readouterr().out
    assert "tiny: level 1, R = 2, C = 2, F = 1, batch 8; per sample" in shown
    assert "roofline of training in bfloat16, per sample" in shown
    document = read(work / "runs" / "benchmark", "speed", drawn=True)
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
    assert "dos: density of states, level 3, R = 1, C = 32, F = 4, batch 16; per sample" in shown
    result = read(work / "runs" / "benchmark", "speed")["sizes"]["dos"]
    assert set(result["speedups"]["auto"]) == set(result["share_of_roofline"]["auto"]) == {"training", "inference"}
    assert set(result["differences"]) == {"composition-as-is"}


def test_memory(work, capsys, here, monkeypatch):
    peaks = iter([7e6, 11e6])
    monkeypatch.setattr(harness, "held", lambda device, peak=True: next(peaks) if peak else 3e6)
    words = ["memory", "--sizes", "tiny", "--contenders", "auto", "composition-as-is"]
    assert main([*words, "--output", "here"]) == 0
    taken = read(work / "here", "memory")["sizes"]["tiny"]["bytes"]
    assert {name: found["added"] for name, found in taken.items()} == {"auto": 4e6, "composition-as-is": 8e6}
    assert "50 %" in capsys.readouterr().out


def test_layers(work, capsys, here):
    words = ["layers", "--sizes", "tiny", "--repeats", "1", "--contenders", "auto", "fast"]
    assert main([*words, "--output", "here"]) == 0
    result = read(work / "here", "layers")["sizes"]["tiny"]
    names = ["level 1: intra 2 -> 8", "level 0: radial 16 -> 32", "level 0: norm 32", "level 1: pool 16"]
    assert {*names, "level 1: block 16"} <= set(result["seconds"])
    for times in result["seconds"].values():
        assert [list(of_name) for of_name in times.values()] == [["forward", "forward and backward"]] * 2
    assert "fast, times as fast as auto" in capsys.readouterr().out


def test_modes_that_save_memory(work, capsys, here):
    words = ["modes", "--size", "tiny"]
    assert main([*words, "--output", "here"]) == 0
    found = read(work / "here", "modes")["modes"]["recompute"]
    assert len(found) == 2
    assert all(one["peak"] > 0 and one["seconds"] > 0 for one in found)
    assert "keeping blocks: peak, GB" in capsys.readouterr().out


def test_mapping_and_loading(work, capsys, here):
    words = ["mapping", "--size", "tiny", "--trained", "tiny", "--batch", "2", "--repeats", "1"]
    assert main([*words, "--output", "here"]) == 0
    document = read(work / "here", "mapping")
    assert set(document["seconds_per_cloud"]) == {"prism", "shell"}
    assert set(document["seconds_per_batch"]) == {"loading", "training"}
    assert "batches/s" in capsys.readouterr().out


def test_table4(work, capsys, here):
    words = ["table4", "--size", "tiny", "--levels", "3", "2", "--counts", "1", "8", "9", "--batch", "2"]
    assert main([*words, "--repeats", "1", "--output", "here"]) == 0
    document = read(work / "here", "table4", drawn=True)
    assert [row["size"]["num_spheres"] for row in document["num_spheres"]] == [1, 8, 9]
    assert [row["size"]["level"] for row in document["level"]] == [3, 2]
    row = document["num_spheres"][1]
    per_mac = row["seconds_per_sample"]["training"]["median"] / row["macs_per_sample"]
    assert row["seconds_per_mac"]["training"] == approx(per_mac, **relative(EXACT))
    assert "ps per MAC" in capsys.readouterr().out


@pytest.mark.slow
def test_startup(work):
    assert main(["startup", "--repeats", "1", "--output", "here"]) == 0
    parts = ["import csgnn_dgl", "first use of CSGNN", "ConcentricGrid", "heterograph of the finest level"]
    assert list(read(work / "here", "startup")["seconds"]) == parts


@pytest.fixture
def measured(monkeypatch, work):
    """What `check` measures, in place of the machine's."""
    found = {name: {"training": 2.0, "inference": 3.0} for name in ratios.OURS}
    taken = {"auto": {"added": 1}, "auto-bf16": {"added": 2}, "composition-as-is": {"added": 4}}
    outcome = suite.Outcome({"sizes": {"small": {"bytes": taken}}})
    monkeypatch.setattr(suite, "measure_speed", lambda *given, **options: {"speedups": found})
    monkeypatch.setattr(suite, "memory", lambda *given: outcome)
    monkeypatch.setattr(ratios, "STORED", work / "r.json")
    return found


def test_check_stores_compares_and_fails(capsys, measured):
    assert main(["check", "--store"]) == 0
    wanted = {f"{name}, {mode}": value for name, of in measured.items() for mode, value in of.items()}
    wanted |= {"auto, memory": 4.0, "auto-bf16, memory": 2.0}
    assert ratios.read(describe(""), ratios.STORED) == wanted
    measured["auto"]["training"] = 1.61
    assert main(["check"]) == 0
    measured["auto"]["training"] = 0.9
    capsys.readouterr()
    assert main(["check"]) == 1
    shown = capsys.readouterr().out
    assert shown.count("as good") == 5
    assert "worse by 55 %" in shown
    assert "worse than stored by more than 20 %: find the change" in shown
    del measured["auto"]["training"]
    assert main(["check"]) == 1
    assert "missing" in capsys.readouterr().out


def test_ratios_are_those_of_machines_of_the_same_kind(tmp_path):
    path = tmp_path / "r.json"
    ratios.store({"auto, training": 2.0}, AVX512, path)
    with pytest.raises(
        InputError, match="r.json has ratios of machines with AMD, AVX512, bfloat16, and this one has AMD, AVX2"
    ):
        ratios.read(AVX2, path)
    ratios.store({"auto, training": 3.0}, AVX2, path)
    ratios.store({"auto, training": 4.0}, INTEL, path)
    assert [ratios.read(kind, path)["auto, training"] for kind in (AVX512, AVX2, INTEL)] == [2.0, 3.0, 4.0]
    path.write_text("[1]")
    for name in (path, tmp_path / "none.json"):
        with pytest.raises(InputError, match="holds no ratios to compare with; write them with `check --store`"):
            ratios.read(AVX2, name)


def test_the_stored_ratios_are_readable():
    for kind in (AVX2, AVX512):
        stored = ratios.read(kind, ratios.STORED)
        assert {"auto, training", "auto, inference", "auto, memory"} <= set(stored)
        assert min(stored.values()) > 0


def test_what_cannot_be_measured_is_one_sentence(failing):
    assert "invalid choice: 'huge'" in failing("speed", "--sizes", "huge")
    assert "'0' is no whole number of at least 1" in failing("--repeats", "0")
    assert "argument --levels: invalid choice: 9" in failing("table4", "--levels", "9")
    assert "'nothing'" in failing("nothing")
    assert "invalid choice: 'pyg'" in failing("speed", "--contenders", "pyg")


def test_help(work, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for name in ("speed", "memory", "mapping", "table4", "startup", "check", "layers", "modes"):
        assert name in shown
