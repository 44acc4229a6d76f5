"""dgl loads once csgnn_dgl is imported. Imports happen once, so each case has a Python process of its own."""

import os
import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path

import pytest

import csgnn_dgl
from csgnn_dgl import _dgl

ROOT = Path(__file__).parents[1]

FACILITIES = """
import pickle, sys, tempfile
from pathlib import Path
import dgl, torch
import dgl.function as fn

graph = dgl.heterograph({("v", "intra", "v"): ([0, 1, 2], [1, 2, 0]), ("v", "radial", "v"): ([0, 2], [2, 1])})
graph.ndata["position"] = torch.arange(9.0).reshape(3, 3)
graph.edges["radial"].data["offset"] = torch.tensor([1, -1])

def same(other):
    assert other.etypes == graph.etypes and other.num_nodes() == 3
    for name in graph.etypes:
        assert torch.equal(torch.stack(other.edges(etype=name)), torch.stack(graph.edges(etype=name)))
    assert torch.equal(other.ndata["position"], graph.ndata["position"])
    assert torch.equal(other.edges["radial"].data["offset"], graph.edges["radial"].data["offset"])

x = torch.randn(3, 2, 4, requires_grad=True)
with graph.local_scope():
    graph.ndata["x"] = x
    graph.multi_update_all({name: (fn.copy_u("x", "m"), fn.sum("m", "y")) for name in graph.etypes}, "sum")
    expected = torch.stack([x[2], x[0] + x[2], x[1] + x[0]])
    torch.testing.assert_close(graph.ndata["y"], expected)
    (gradient,) = torch.autograd.grad(graph.ndata["y"].square().sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.square().sum(), x)[0])
summed = dgl.ops.copy_u_sum(graph["intra"], x)
assert torch.equal(summed, x[[2, 0, 1]])
assert torch.equal(torch.autograd.grad(summed[1].sum(), x)[0][0], torch.ones(2, 4))

batch = dgl.batch([graph, graph])
assert batch.batch_size == 2 and batch.num_nodes() == 6 and batch.num_edges("radial") == 4
with tempfile.TemporaryDirectory() as folder:
    dgl.save_graphs(str(Path(folder) / "graphs.bin"), [graph], {"level": torch.tensor([3])})
    loaded, labels = dgl.load_graphs(str(Path(folder) / "graphs.bin"))
same(loaded[0])
assert labels["level"].item() == 3
same(pickle.loads(pickle.dumps(graph)))
assert sorted(dgl.to_networkx(dgl.to_homogeneous(graph)).edges()) == [(0, 1), (0, 2), (1, 2), (2, 0), (2, 1)]

import dgl.nn
assert dgl.nn.GraphConv(4, 5)(graph["intra"], x).shape == (3, 2, 5)
assert callable(dgl.batch)
import dgl.ops, dgl.sampling, dgl.transforms, dgl.distributed, dgl.dataloading, dgl.data
print("every facility works")
"""

# What a first import of dgl looks like to somebody who does not know csgnn_dgl yet: on some Pythons it fails.
TRY_DGL = """
try:
    import dgl
except Exception as error:
    print("alone:", type(error).__name__)
"""


def run(code: str, home: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter whose home folder is `home`, with nothing set that concerns dgl."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("DGL")}
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        env={**inherited, "HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_after_importing_the_package_all_of_dgl_works_in_silence_and_the_home_folder_is_empty(tmp_path: Path) -> None:
    result = run("import csgnn_dgl\n" + FACILITIES, tmp_path, "-W", "error::RuntimeWarning")
    assert (result.returncode, result.stdout, result.stderr) == (0, "every facility works\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_compiling_dgl_at_its_first_import_is_silent_too(tmp_path: Path) -> None:
    code = "import torch, warnings; warnings.simplefilter('always'); import csgnn_dgl"
    result = run(code, tmp_path, PYTHONPYCACHEPREFIX=str(tmp_path / "compiled"))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.slow
def test_a_first_import_of_dgl_that_failed_is_repaired(tmp_path: Path) -> None:
    result = run(TRY_DGL + "import csgnn_dgl\n" + FACILITIES, tmp_path, DGLBACKEND="pytorch")
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("every facility works\n")


@pytest.mark.slow
def test_an_import_that_stops_half_way_is_taken_up_again(tmp_path: Path) -> None:
    # Whatever the release of dgl, the first attempt here ends in the middle, as graphbolt makes 2.1 do.
    half_way = """
    import sys
    class Stop:
        def find_spec(self, name, path=None, target=None):
            if name == "dgl.sampling":
                raise OSError("stopped half-way")
    sys.meta_path.insert(0, Stop())
    try:
        import dgl
    except OSError as error:
        print(error)
    assert "dgl" not in sys.modules and "dgl.backend" in sys.modules
    del sys.meta_path[0]
    import csgnn_dgl
    """
    result = run(textwrap.dedent(half_way) + FACILITIES, tmp_path, DGLBACKEND="pytorch")
    assert result.returncode == 0, result.stderr


def test_a_dgl_that_was_imported_before_is_used_as_it_is(tmp_path: Path) -> None:
    code = """
    import sys, types
    sys.modules["dgl"] = mine = types.ModuleType("dgl")
    import csgnn_dgl, dgl
    from csgnn_dgl._dgl import load_dgl, require_dgl
    assert dgl is mine and load_dgl() is mine and require_dgl() is mine
    """
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_stand_in_for_graphbolt_is_empty_and_says_why() -> None:
    graphbolt = _dgl._GraphboltStandIn()
    assert not hasattr(graphbolt, "ItemSampler")
    with pytest.raises(AttributeError, match="dgl.graphbolt.DataLoader is missing: graphbolt does not load"):
        graphbolt.DataLoader  # noqa: B018


def test_only_a_dgl_that_has_graphbolt_has_something_in_its_place() -> None:
    assert hasattr(sys.modules["dgl"], "graphbolt") == (version("dgl") >= "2.")


ABSENT = """
import sys
class NoDgl:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "dgl":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoDgl())
"""


def test_without_dgl_the_package_imports_and_names_the_fix_when_dgl_is_needed(tmp_path: Path) -> None:
    code = """
    import csgnn_dgl
    from csgnn_dgl._dgl import load_dgl, require_dgl
    assert load_dgl() is None
    try:
        require_dgl()
    except ModuleNotFoundError as error:
        print(error)
    """
    result = run(ABSENT + textwrap.dedent(code), tmp_path, "-W", "error::RuntimeWarning")
    assert result.returncode == 0, result.stderr
    release = "1.1.3" if sys.version_info < (3, 12) else "2.1.0"
    assert result.stdout == f"dgl is needed for this and is not installed: run `pip install dgl=={release}`\n"


def test_a_dgl_that_cannot_load_is_reported_once_in_one_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "dgl").mkdir(parents=True)
    (broken / "dgl" / "__init__.py").write_text("import a_package_nobody_has.part\n")
    code = """
    import csgnn_dgl, sys
    from csgnn_dgl._dgl import require_dgl
    assert not [name for name in sys.modules if name.startswith("dgl")]
    try:
        require_dgl()
    except ImportError as error:
        print(error)
    """
    result = run(code, tmp_path, PYTHONPATH=f"{broken}{os.pathsep}{ROOT}")
    assert result.returncode == 0, result.stderr
    sentence = "does not load (ModuleNotFoundError: No module named 'a_package_nobody_has'): "
    sentence += "run `pip install a_package_nobody_has`"
    assert sentence in result.stdout
    assert result.stderr.count(f"RuntimeWarning: {result.stdout.strip()}") == 1


def test_the_fix_for_any_other_failure_is_the_release_that_is_tested() -> None:
    message = _dgl._broken(OSError("libdgl.so: cannot open"))
    assert message.startswith("dgl ")
    assert "(OSError: libdgl.so: cannot open): run `pip install --force-reinstall dgl==" in message


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ((3, 10), "run `pip install dgl==1.1.3`"),
        ((3, 11), "run `pip install dgl==1.1.3`"),
        ((3, 12), "run `pip install dgl==2.1.0`"),
        ((3, 13), "has no build for this Python: use Python 3.10, 3.11 or 3.12"),
    ],
)
def test_the_fix_fits_the_running_python(
    monkeypatch: pytest.MonkeyPatch, python: tuple[int, int], sentence: str
) -> None:
    monkeypatch.setattr(sys, "version_info", python)
    assert _dgl._absent().endswith(sentence)


def test_what_is_used_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    heavy = ["lightning", "pytorch_lightning", "trimesh", "matplotlib", "sklearn", "h5py", "tensorboard"]
    code = f"""
    import csgnn_dgl, csgnn_dgl.data, csgnn_dgl.mapping, sys
    print([name for name in {[*heavy, "ase"]} if name in sys.modules])
    csgnn_dgl.predict_dos
    print([name for name in {heavy[:2]} if name in sys.modules])
    """
    result = run(code, tmp_path)
    assert result.stdout == "[]\n[]\n", result.stderr


def test_this_process_has_dgl() -> None:
    assert csgnn_dgl._dgl.load_dgl() is sys.modules["dgl"]
