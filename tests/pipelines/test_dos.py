import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk, nanotube
from ase.io import write
from matplotlib.figure import Figure

import configs
from csgnn_dgl import load_dos_model, predict_dos
from csgnn_dgl.data import load_snapshots
from csgnn_dgl.models import DOS_MODELS
from csgnn_dgl.tasks.dos import TASK
from csgnn_dgl.tasks.dos.invariance import measure_invariance
from pipelines import cli
from pipelines.dos import main
from tests.data.atoms.vasp_files import Spectrum, dos_element, doscar_text, vasprun_text, write_doscar
from tests.tolerances import ROUNDED, TOLERANCE, approx
from tests.toy_snapshots import AGNI_CONFIG, NETWORKS, STRUCTURES, toy_atoms, write_snapshots

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A config that trains in a second, on three kinds of molecules."""
    folder = tmp_path_factory.mktemp("dos")
    content = {
        "model": {
            "network": {"class_path": "csgnn_dgl.models.AGNI", "init_args": AGNI_CONFIG},
            "learning_rate": 1e-2,
        },
        "data": {"source": str(write_snapshots(folder / "data")), "batch_size": 5},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    }
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
    """A finished run folder. Tests may read it."""
    folder = tmp_path_factory.mktemp("trained")
    assert main(["fit", "--config", str(config), "--runs", str(folder), "--name", "one"]) == 0
    return folder / "one"


def test_test_gives_the_tables_with_the_training_means(trained, work, capsys, figures):
    run = shutil.copytree(trained, work / "runs" / "one")
    assert main(["test", "--ckpt_path", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "| agni          | " in shown
    assert "| training mean | –          |" in shown
    content = json.loads((run / "results.json").read_text())
    assert [(row["name"], row["num_snapshots"]) for row in content["rows"]] == [("agni", 9), ("training mean", 9)]
    assert content["models"]["agni"]["config"] == torch.load(run / "checkpoints" / "best.ckpt")["csgnn"]["config"]
    assert {path.name for path in run.glob("*.png")} == {"curve.png", "dos.png", "parity.png"}
    # results that exist are not written over
    assert main(["test", "--ckpt_path", str(run)]) == 0
    assert (run / "test-2" / "results.json").is_file()


def test_invariance_is_measured_on_request(trained, work, capsys, figures):
    assert main(["test", "--ckpt_path", str(trained), "--output", "out", "--invariance", "true"]) == 0
    shown = capsys.readouterr().out
    assert "| rotation by 180° " in shown
    measured = json.loads((work / "out" / "results.json").read_text())["details"]["invariance"]
    source = yaml.safe_load((trained / "config.yaml").read_text())["data"]["source"]
    snapshots = load_snapshots(source, "test")
    expected = measure_invariance(load_dos_model(trained).network, snapshots)
    assert (measured["num_snapshots"], measured["repeated"]["num_copies"]) == (9, 3)
    assert [row["name"] for row in measured["rotated"]] == [item.name for item in expected.rotated]
    for row, item in zip(measured["rotated"], expected.rotated, strict=True):
        assert row["dos_per_atom"] == approx(item.dos_per_atom, **ROUNDED)
        assert row["largest_dos_per_atom"] < TOLERANCE[torch.float32]["rtol"]  # AGNI does not change under any rotation
    text = (work / "out" / "results.md").read_text()
    assert "predictions for 9 test snapshots change" in text
    assert "(18 at each angle, about random axes)" in text
    assert "invariance.png" in text
    for line in ("60 icosahedral rotations", "atoms in another order", "doubled cell"):
        assert f"| {line} " in shown and f"| {line} " in text
    assert (work / "out" / "invariance.png").is_file()


def test_help_lists_every_subcommand(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert not end.value.code
    shown = " ".join(capsys.readouterr().out.split())
    assert "{fit,validate,test,table,leave_out,predict}" in shown
    assert "table Test runs on the same test snapshots" in shown
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert "structures" in capsys.readouterr().out


def test_a_checkpoint_by_itself_brings_its_data(trained, work):
    file = shutil.copy(trained / "checkpoints" / "best.ckpt", work / "model.ckpt")
    assert main(["test", "--ckpt_path", str(file), "--output", "out"]) == 0
    rows = json.loads((work / "out" / "results.json").read_text())["rows"]
    assert rows[0]["num_snapshots"] == 9


def test_validate_prints_what_the_training_found(trained, work, capsys):
    assert main(["validate", "--ckpt_path", str(trained)]) == 0
    shown = capsys.readouterr().out
    history = json.loads((trained / "history.json").read_text())
    best = min(history, key=lambda entry: entry["validation/band_energy_mae"])
    assert f"| {best['validation/band_energy_mae']:.4f} " in shown
    assert f"validation loss: {best['validation/loss']:.6f}" in shown


def test_table_compares_runs_of_different_models(trained, config, work, capsys):
    options = ["--config", str(config), "--trainer.max_epochs", "1", "--test_at_end", "true"]
    network = [f"--model.network.init_args.{key}={value}" for key, value in NETWORKS["csgnn"].items()]
    assert main(["fit", *options, "--model", "csgnn", *network, "--name", "other"]) == 0
    capsys.readouterr()
    other = work / "runs" / "dos" / "other"
    assert main(["table", str(trained), str(other / "checkpoints" / "best.ckpt"), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    content = json.loads((work / "runs" / "table" / "results.json").read_text())
    assert [row["name"] for row in content["rows"]] == ["one", "other", "training mean"]
    assert content["models"]["other"]["model"] == "csgnn"
    alone = json.loads((other / "results.json").read_text())["rows"]
    assert content["rows"][1]["band_energy_mae"] == approx(alone[0]["band_energy_mae"], **ROUNDED)
    assert content["rows"][2]["band_energy_mae"] == alone[1]["band_energy_mae"]
    assert "results in runs/table" in shown
    assert main(["table", str(trained), "--output", "mine"]) == 0
    assert (work / "mine" / "results.md").is_file()
    assert main(["table", str(trained)]) == 0
    assert (work / "runs" / "table-2" / "results.json").is_file()


def test_calculations_of_vasp_are_predicted_and_tested_on(trained, work, capsys):
    spectrum = Spectrum(np.array([-25.0, -18.0, -10.0, -7.0]), 2.0, 0.3)
    text = doscar_text(spectrum.table(np.linspace(-29.0, 2.0, 1241)), 0.5)
    dimer = toy_atoms("dimer", 1.35)
    dimer.set_cell([9, 9, 9])
    write_doscar(work / "doscar", text, dimer)
    element = dos_element(spectrum.table(np.linspace(-29.0, 2.0, 1241)), 0.5)
    (work / "run").mkdir()
    (work / "run" / "vasprun.xml.gz").write_bytes(gzip.compress(vasprun_text([(dimer, ""), (dimer, element)]).encode()))
    arguments = ["predict", "doscar", "run/vasprun.xml.gz", "--ckpt_path", str(trained), "--output", "out"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "note: run/vasprun.xml.gz: the DOS is that of ionic step 2 of 2" in shown.err
    records = json.loads((work / "out" / "predictions.json").read_text())
    assert [record["num_electrons"] for record in records] == [8, 8, 8]
    assert records[0]["band_energy"] == approx(records[1]["band_energy"], **ROUNDED)
    for source in ("doscar", "run", "run/vasprun.xml.gz"):
        options = ["--data.source", source, "--output", f"tested/{source.replace('/', '-')}"]
        assert main(["test", "--ckpt_path", str(trained), *options]) == 0
        rows = json.loads((work / options[-1] / "results.json").read_text())["rows"]
        assert rows[0]["num_snapshots"] == 1


def test_data_to_test_on_need_no_training_data(trained, work, capsys):
    (work / "own").mkdir()
    write(work / "own" / "test.extxyz", [toy_atoms("square", 1.35), toy_atoms("square", 1.45)], format="extxyz")
    assert main(["test", "--ckpt_path", str(trained), "--data.source", "own", "--output", "out"]) == 0
    shown = capsys.readouterr()
    assert "note: own: has no training snapshots, so that their mean, the row to beat, is left out" in shown.err
    rows = json.loads((work / "out" / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["agni"]
    assert main(["table", str(trained), "--source", "own", "--output", "table"]) == 0
    (row,) = json.loads((work / "table" / "results.json").read_text())["rows"]
    assert row["band_energy_mae"] == approx(rows[0]["band_energy_mae"], **ROUNDED)
    assert "mean |" not in capsys.readouterr().out


def test_structures_that_were_not_trained_on_are_compared_with_the_overall_mean(trained, config, work, capsys):
    (work / "own").mkdir()
    write(work / "own" / "test.extxyz", toy_atoms("square", 1.35), format="extxyz")
    write(work / "own" / "train.extxyz", [toy_atoms("chain", 1.35), toy_atoms("dimer", 1.4)], format="extxyz")
    assert main(["test", "--ckpt_path", str(trained), "--data.source", "own", "--output", "out"]) == 0
    assert "| overall mean | " in capsys.readouterr().out
    rows = json.loads((work / "out" / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["agni", "overall mean"]


@pytest.mark.slow
def test_structures_are_left_out_one_at_a_time(config, work, inline_jobs, capsys):
    words = ["leave_out", str(config), "--structures", "dimer", "chain", "--output", "out", "--jobs", "1"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    content = json.loads((work / "out" / "leave_out.json").read_text())
    pairs = [(line["structure"], line["model"]) for line in content["lines"]]
    assert pairs == [(name, model) for model in ("tiny", "overall mean") for name in ("dimer", "chain")]
    # the same as by hand
    assert main(["fit", "--config", str(config), "--data.holdout", "dimer", "--name", "by_hand"]) == 0
    assert main(["test", "--ckpt_path", "runs/dos/by_hand"]) == 0
    rows = json.loads((work / "runs" / "dos" / "by_hand" / "results.json").read_text())["rows"]
    for line, row in zip(content["lines"][::2], rows, strict=True):
        assert {**row, **line, "name": row["name"]} == {**row, "structure": "dimer", "model": line["model"]}
    # lines of the table: the mean is that of the two structures
    errors = [line["band_energy_mae"] for line in content["lines"]]
    means = next(row.split()[1::2] for row in shown.splitlines() if row.startswith("| mean"))
    assert means == ["mean", f"{np.mean(errors[:2]):.4f}", f"{np.mean(errors[2:]):.4f}"]
    assert f"| dimer {'':<{len('band energy (eV/atom)') - 6}} | {errors[0]:.4f} " in shown
    for line in shown.splitlines():
        assert not line.startswith("| ") or line in (work / "out" / "leave_out.md").read_text()
    # what is finished is not done again, and the table is made without the models
    for file in (work / "out").rglob("*.ckpt"):
        file.unlink()
    assert main(words) == 0
    assert json.loads((work / "out" / "leave_out.json").read_text()) == content


def test_leave_out_refuses_what_it_cannot_do(config, work, capsys):
    def failing(*words):
        assert main(["leave_out", *words, "--output", "out"]) == 2
        return capsys.readouterr().err

    assert "'cube' cannot be left out; name some of chain, dimer, square" in failing(
        str(config), "--structures", "cube"
    )
    assert "compare models on the same" in failing(str(config), "dos/agni_small.yaml")
    endless = yaml.safe_load(config.read_text())
    del endless["trainer"]["max_epochs"]
    (work / "endless.yaml").write_text(yaml.safe_dump(endless))
    assert "give its config trainer.max_epochs" in failing("endless.yaml")
    (work / "one").mkdir()
    for split in ("train", "val", "test"):
        write(work / "one" / f"{split}.extxyz", toy_atoms("square", 1.35), format="extxyz")
    assert "takes at least two" in failing(str(config), "--source", "one")
    assert not (work / "out").exists()


def test_results_of_a_checkpoint_without_a_run_are_not_put_beside_it(trained, config, work, capsys):
    (work / "weights").mkdir()
    (work / "weights" / "mine.ckpt").write_bytes((trained / "checkpoints" / "best.ckpt").read_bytes())
    source = yaml.safe_load((trained / "config.yaml").read_text())["data"]["source"]
    for folder in ("mine", "mine/test-2"):
        assert main(["test", "--ckpt_path", "weights/mine.ckpt", "--data.source", source]) == 0
        assert (work / "runs" / "dos" / folder / "results.json").is_file()
    assert [path.name for path in (work / "weights").iterdir()] == ["mine.ckpt"]


@pytest.mark.slow
def test_a_structure_can_be_left_out(config, work, capsys):
    for name in STRUCTURES[:2]:
        options = ["--data.holdout", name, "--name", name, "--trainer.max_epochs", "1"]
        assert main(["fit", "--config", str(config), *options]) == 0
    assert main(["test", "--ckpt_path", "runs/dos/dimer"]) == 0
    rows = json.loads((work / "runs" / "dos" / "dimer" / "results.json").read_text())["rows"]
    assert [item["structure"] for item in rows[0]["structures"]] == ["dimer"]
    assert main(["table", "runs/dos/chain", "runs/dos/dimer", "--output", "out"]) == 0
    rows = json.loads((work / "out" / "results.json").read_text())["rows"]
    assert [item["structure"] for item in rows[0]["structures"]] == ["chain", "dimer"]


def test_predict_writes_what_the_library_predicts(trained, work, capsys):
    write(work / "a.extxyz", [toy_atoms("dimer", 1.35), toy_atoms("chain", 1.42)], format="extxyz")
    write(work / "b.xyz", Atoms("C2", [[0, 0, 0], [0, 0, 1.4]]))
    arguments = ["predict", "a.extxyz", "b.xyz", "--ckpt_path", str(trained), "--device", "cpu"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    expected = predict_dos([toy_atoms("dimer", 1.35), toy_atoms("chain", 1.42)], str(trained))
    records = json.loads((work / "runs" / "predictions" / "predictions.json").read_text())
    assert [record["name"] for record in records] == ["a-0", "a-1", "b"]
    for record, result in zip(records, expected, strict=False):
        assert record["band_energy"] == approx(result.band_energy, **ROUNDED)
        assert f"| {record['fermi_level']:.4f} " in shown
        arrays = np.load(work / "runs" / "predictions" / f"{record['name']}.npz")
        assert np.allclose(arrays["atom_dos"], result.atom_dos, **ROUNDED)
    assert (work / "runs" / "predictions" / "b.png").is_file()
    assert shown.startswith(
        "| structure | atoms | electrons | Fermi level (eV) | band energy (eV) | per atom (eV) | dev"
    )
    # nothing is written over
    assert main([*arguments[:2], *arguments[3:]]) == 0
    assert (work / "runs" / "predictions-2").is_dir()


def test_figures_of_predictions_have_the_axes_that_were_asked_for(trained, work, monkeypatch):
    titles = []

    def keep(figure, path, **options):
        (axes,) = figure.axes
        titles.append((axes.get_xlabel(), axes.get_ylabel()))
        path.touch()

    monkeypatch.setattr(Figure, "savefig", keep)
    write(work / "a.extxyz", toy_atoms("dimer", 1.35), format="extxyz")
    arguments = ["predict", "a.extxyz", "--ckpt_path", str(trained), "--device", "cpu"]
    assert main(arguments) == 0
    assert main([*arguments, "--from_fermi_level", "true", "--per_atom", "true"]) == 0
    assert titles == [
        ("energy (eV), zero of the training data", "DOS (states / eV)"),
        ("energy − predicted Fermi level (eV)", "DOS (states / eV / atom)"),
    ]


def test_numbers_of_structures_unlike_those_of_the_training_are_not_printed(work, capsys):
    """With the weights that come with the package: a lone atom has no band energy of -58 eV."""
    write(work / "lone.xyz", Atoms("C", [[0, 0, 0]]))
    write(work / "diamond.extxyz", bulk("C", "diamond", 3.567), format="extxyz")
    write(work / "tube.extxyz", nanotube(3, 3, bond=1.42), format="extxyz")
    files = ["lone.xyz", "diamond.extxyz", "tube.extxyz"]
    assert main(["predict", *files, "--figures", "false", "--output", "out", "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0].endswith("| deviation (training: up to 7.8) |")
    for line, deviation in zip(lines[2:4], ("34.5", "20.5"), strict=True):
        assert "| outside of the training data | –                | –             | " + deviation in line
    assert "| 4.1 " in lines[4] and "outside" not in lines[4]
    assert "-58" not in lines[2]
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("note: lone.xyz: snapshot 0: outside of the training data (as 2 of 3 structures are)")
    assert lines[-1] == "DOS and contributions of the atoms in out"
    assert not list((work / "out").glob("*.png"))
    records = json.loads((work / "out" / "predictions.json").read_text())
    assert [record["fermi_level"] is None for record in records] == [True, True, False]


def test_no_prediction_is_written_over_another(trained, work, capsys):
    for folder in ("one", "two"):
        (work / folder).mkdir()
        write(work / folder / "POSCAR", Atoms("C2", [[0, 0, 0], [0, 0, 1.4]], cell=[8, 8, 8], pbc=True), format="vasp")
    write(work / "a.extxyz", [toy_atoms("dimer", 1.35), toy_atoms("chain", 1.42)], format="extxyz")
    write(work / "a-0.extxyz", toy_atoms("dimer", 1.4), format="extxyz")
    files = ["a.extxyz", "a-0.extxyz", "one/POSCAR", "two/POSCAR"]
    assert main(["predict", *files, "--ckpt_path", str(trained), "--output", "out", "--figures", "false"]) == 0
    records = json.loads((work / "out" / "predictions.json").read_text())
    names = [record["name"] for record in records]
    assert names == ["a-0", "a-1", "a-0_extxyz", "one-POSCAR", "two-POSCAR"]
    for record in records:
        arrays = np.load(work / "out" / f"{record['name']}.npz")
        assert len(arrays["atom_dos"]) == record["num_atoms"]
        assert arrays["deviation"].max() == record["deviation"]


def test_a_prediction_with_too_few_states_says_so(trained, work, capsys):
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    for name in ("weight", "bias"):
        checkpoint["state_dict"][f"network.output.norm.{name}"].fill_(0.01)
    torch.save(checkpoint, work / "weak.ckpt")
    write(work / "a.xyz", Atoms("C2", [[0, 0, 0], [0, 0, 1.4]]))
    assert main(["predict", "a.xyz", "--ckpt_path", "weak.ckpt", "--output", "out"]) == 0
    assert "a.xyz: snapshot 0: the predicted DOS holds " in capsys.readouterr().out


def test_structures_that_cannot_be_used_are_named(failing, trained, work):
    predict = ["predict", "--ckpt_path", str(trained)]
    write(work / "mixed.extxyz", [Atoms("C2", [[0, 0, 0], [0, 0, 1.4]]), Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])])
    assert "mixed.extxyz: snapshot 1 contains O" in failing(*predict, "mixed.extxyz")
    write(work / "close.xyz", Atoms("C2", [[0, 0, 0], [0, 0, 0.01]]))
    assert "close.xyz: snapshot 0: atoms 0 and 1 are only 0.01 Å apart" in failing(*predict, "close.xyz")
    (work / "broken.xyz").write_text("this is no structure\n")
    assert "broken.xyz: snapshot 0 cannot be read" in failing(*predict, "broken.xyz")
    assert "gone.cif: there is no such file" in failing(*predict, "gone.cif")
    (work / "flat.extxyz").write_text("1\npbc='T T T'\nC 0.0 0.0 nan\n")
    assert "flat.extxyz: snapshot 0" in failing(*predict, "flat.extxyz")
    write(work / "good.xyz", Atoms("C", [[0, 0, 0]]))
    assert "no such checkpoint" in failing("predict", "good.xyz", "--ckpt_path", "gone.ckpt")
    assert "--device nonsense cannot be used" in failing(*predict, "good.xyz", "--device", "nonsense")
    (work / "out").mkdir()
    (work / "out" / "predictions.json").touch()
    assert "out has results already" in failing(*predict, "good.xyz", "--output", "out")


def test_wrong_options_are_refused(failing, trained, config, work):
    assert "'gnn' is no model of the DOS" in (message := failing("fit", "--model", "gnn"))
    assert "give one of agni, csgnn, schnet" in message
    assert "argument --model: expected one argument" in failing("fit", "--model")
    assert "gone.ckpt" in failing("table", "gone.ckpt")
    assert "data.fraction is 2.0" in failing("fit", "--config", str(config), "--data.fraction", "2")
    assert "name one of the structures" in failing("fit", "--config", str(config), "--data.holdout", "x")
    assert "310" in failing("fit", "--config", str(config), "--model.network.init_args.num_bins", "10")
    assert "nowhere" in failing("fit", "--config", str(config), "--data.source", "nowhere")
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["csgnn"]["task"] = "classification"
    torch.save(checkpoint, work / "other.ckpt")
    assert "holds no model of the DOS" in failing("test", "--ckpt_path", "other.ckpt")
    assert "holds no model of the DOS" in failing("table", "other.ckpt")


def test_resuming_takes_one_flag(trained, config, work):
    options = ["--config", str(config), "--name", "part", "--trainer.max_epochs", "1"]
    assert main(["fit", *options]) == 0
    assert main(["--resume", "--trainer.max_epochs", "2"]) == 0
    states = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        for run in (trained, work / "runs" / "dos" / "part")
    ]
    assert states[1]["epoch"] == 1
    assert all(torch.equal(value, states[1]["state_dict"][name]) for name, value in states[0]["state_dict"].items())


def test_a_model_is_chosen_by_its_name():
    def complete(*words):
        return cli.complete(words, TASK, "runs/dos")

    own = str(configs.FOLDER / "dos" / "agni.yaml")
    assert complete("fit", "--model", "agni", "--name", "x") == ["fit", "--config", own, "--name", "x"]
    assert complete("fit", "--model=agni") == ["fit", "--config", own]
    chosen = ["--model.network", "csgnn_dgl.models.dos.csgnn.CSGNNDOS"]
    quick = ["--config", str(configs.find("dos/quick"))]
    assert complete("fit", "-c", "dos/quick", "--model", "csgnn") == ["fit", *quick, *chosen]
    assert complete("fit", "--model.network", "csgnn", "--x", "1") == ["fit", *chosen, "--x", "1"]
    assert complete("fit", "--model.alpha", "1") == ["fit", "--model.alpha", "1"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (configs.FOLDER / "dos").glob("*.yaml")))
def test_every_config_parses(capsys, name):
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", f"dos/{name}", "--print_config"])
    assert not end.value.code
    content = yaml.safe_load(capsys.readouterr().out)
    network = content["model"]["network"]
    kind = "csgnn" if name == "quick" else name.split("_")[0]
    assert network["class_path"] == f"csgnn_dgl.models.{DOS_MODELS[kind].__name__}"


@pytest.mark.parametrize(("name", "channels"), [("csgnn", 32), ("csgnn_c1", 1)])
def test_published_configs_are_those_of_the_paper(capsys, name, channels):
    with pytest.raises(SystemExit):
        main(["fit", "--config", f"dos/{name}", "--print_config"])
    content = yaml.safe_load(capsys.readouterr().out)
    network = content["model"]["network"]["init_args"]
    assert (network["level"], network["num_spheres"], network["channels"], network["cutoff"]) == (3, 1, channels, 7.0)
    model = content["model"]
    assert (model["learning_rate"], model["weight_decay"], model["schedule"]) == (5e-4, 1e-7, "plateau")
    assert (model["patience"], model["factor"], model["threshold"], model["minimum_rate"]) == (99, 0.1, 5e-3, 1e-5)
    assert model["alpha"] == 0.1
    assert (content["data"]["batch_size"], content["data"]["grid"]["count"]) == (32, 310)
    assert content["trainer"]["max_epochs"] == 1500


@pytest.mark.slow
def test_the_program_says_nothing_but_its_own_lines(trained, config, work):
    command = [sys.executable, "-m", "pipelines.dos", "fit", "--config", str(config), "--trainer.max_epochs", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("epoch 1/1: loss ")
    assert lines[1:] == [
        "run folder: runs/dos/tiny",
        "test it with: python -m pipelines.dos test --ckpt_path runs/dos/tiny/checkpoints/best.ckpt",
    ]
