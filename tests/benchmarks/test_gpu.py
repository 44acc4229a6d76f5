import json
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from benchmarks.gpu import command
from benchmarks.gpu.checks import compare, layer_cases
from benchmarks.gpu.clock import measure
from benchmarks.gpu.floor import flop
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.report import failures, summary
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.work import Work
from benchmarks.sizes import count_macs
from benchmarks.timing import ROOT, child_environment

WITHOUT_PACKAGES = """
import json, sys, time
from pathlib import Path

for name in ("dgl", "jsonargparse", "h5py", "matplotlib", "trimesh", "lightning", "tqdm", "scipy", "sklearn"):
    sys.modules[name] = None  # as if it were not installed
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.worker import run_parts

setting = Setting("cpu", True, Path(sys.argv[1]))
start = {"setting": setting.values(), "minutes": 1, "parts": {}}
(setting.output / "results.json").write_text(json.dumps(start))
sys.exit(run_parts(setting, time.time() + 1000, [part.name for part in PARTS]))
"""


def test_everything_runs_on_the_cpu_without_dgl_and_what_needs_a_gpu_is_skipped(tmp_path):
    environment = child_environment() | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGES, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    document = json.loads((tmp_path / "results.json").read_text())
    assert failures(document) == []
    skipped = [name for name, entry in document["parts"].items() if entry["status"] == "skipped"]
    assert all("needs a GPU" in document["parts"][name]["note"] for name in skipped)
    assert {"speed, bf16, graph", "speed, bf16, compiled", "speed, bf16, reduce-overhead"} <= set(skipped)
    assert {"check layers", "check model", "speed, bf16", "floor", "spheres", "operations"}.isdisjoint(skipped)
    assert set(document["parts"]) == {part.name for part in PARTS}
    assert "ms  share  launches  name" in (tmp_path / "profile.txt").read_text()
    text = summary(document)
    for title in ("## Training, the paper's model", "## Inference", "## Floor", "## Numbers of spheres", "## Checks"):
        assert title in text
    assert "Nothing." in text


def setting(tmp_path):
    return Setting("cpu", True, tmp_path)


def test_a_wrong_layer_is_out_of_tolerance(tmp_path):
    case = layer_cases(level=1)[0]
    assert all(row["ok"] for row in compare(setting(tmp_path), case))
    calls = []

    def wrong(module, features):
        calls.append(0)
        found = case.call(module, features)
        return found if len(calls) == 1 else 1.1 * found  # the first call is the reference

    rows = compare(setting(tmp_path), type(case)(case.name, case.kind, case.build, wrong, case.shape))
    judged = [row for row in rows if row["judged"]]
    assert judged and not any(row["ok"] for row in judged)
    document = {"parts": {"check layers": {"status": "done", "result": {"rows": rows, "errors": {}}}}}
    assert len(failures(document)) == len(judged)


def test_a_step_does_what_a_step_by_hand_does(tmp_path):
    one, other = (Work(setting(tmp_path), setting(tmp_path).size, "float32", dropout=0.0) for _ in range(2))
    one.model.train()
    loss = one.training()
    other.model.train()
    points = other.draws[0].apply(other.clouds[0])
    by_hand = torch.nn.functional.cross_entropy(other.model(points), other.labels[0])
    by_hand.backward()
    other.optimizer.step()
    torch.testing.assert_close(loss, by_hand.detach())
    for ours, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    one.model.eval()
    one.count = 1
    torch.testing.assert_close(one.inference(), one.model(one.clouds[1]))


def test_times_are_milliseconds_of_one_run():
    found = measure(lambda: time.sleep(0.005), "cpu", seconds=0.02, warm_up=1)
    assert 5 <= found["lower_quartile"] <= found["median"] <= found["upper_quartile"]
    assert found["repeats"] >= 3


def test_the_arithmetic_of_training_is_that_of_inference_three_times_but_for_the_first_layer():
    size = Setting("cuda", False, ROOT).size
    first = 20 * 2562 * 32 * 8 * 32
    assert flop(size, "inference") == 2 * count_macs(size)
    assert flop(size, "training") == 6 * count_macs(size) - 2 * first


def fake_worker(monkeypatch, body):
    script = """
    import json, sys, time
    given = json.loads(sys.argv[1])
    file = given["setting"]["output"] + "/results.json"
    document = json.load(open(file))
    for number, name in enumerate(given["parts"]):
        document["parts"][name] = {"status": "running", "started": time.time()}
        json.dump(document, open(file + "-", "w"))
        __import__("os").replace(file + "-", file)
        BODY
        document["parts"][name] = {"status": "skipped", "note": "tried", "seconds": 0.0}
    json.dump(document, open(file, "w"))
    """
    code = textwrap.dedent(script).replace("BODY", body)
    monkeypatch.setattr(command, "WORKER", (sys.executable, "-c", code))


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("if name == 'pieces': sys.exit(3)", "the process ended with code 3"),
        ("if name == 'pieces': time.sleep(100)", "ended after"),
    ],
)
def test_a_worker_that_dies_or_hangs_costs_one_part(monkeypatch, tmp_path, capsys, body, note):
    fake_worker(monkeypatch, body)
    limits = [type(part)(part.name, part.run, part.least, 2) for part in PARTS]
    monkeypatch.setattr(command, "PARTS", limits)
    assert command.main(["--device", "cpu", "--tiny", "--output", str(tmp_path)]) == command.WRONG
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert set(parts) == {part.name for part in PARTS}
    assert [name for name, entry in parts.items() if entry["status"] == "failed"] == ["pieces"]
    assert note in parts["pieces"]["note"]
    assert f"- pieces: {note}" in (tmp_path / "summary.md").read_text()
    assert "pieces: failed" in capsys.readouterr().out


def test_what_there_is_no_time_for_is_skipped_and_a_worker_that_cannot_start_is_told_of(monkeypatch, tmp_path):
    assert command.main(["--device", "cpu", "--tiny", "--minutes", "0.1", "--output", str(tmp_path)]) == 0
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert {entry["note"] for entry in parts.values()} == {"no time was left"}
    monkeypatch.setattr(command, "WORKER", (sys.executable, "-c", "raise SystemExit(7)"))
    assert command.main(["--device", "cpu", "--tiny", "--output", str(tmp_path)]) == command.WRONG
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert {entry["note"] for entry in parts.values()} == {"no process could start: code 7"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_program_says_so(tmp_path, capsys):
    assert command.main(["--output", str(tmp_path)]) == command.USER_ERROR
    assert "torch sees no CUDA GPU" in capsys.readouterr().err
