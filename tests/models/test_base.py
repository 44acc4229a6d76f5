"""What makes a model again: its config, its name and its checkpoint, and those that older versions wrote."""

import copy
import importlib
import inspect
import pickle
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping import Environments
from csgnn_dgl.models import AGNI, CLASSIFIERS, CSGNN, DOS_MODELS, Classifier, Model, Registry, base
from csgnn_dgl.models.base import FORMAT, arguments_of, check_fits, checkpoint_file, plain, read_checkpoint
from csgnn_dgl.models.trust import trusting
from csgnn_dgl.tasks.classification import TASK
from csgnn_dgl.tasks.dos import load_dos_model
from csgnn_dgl.training import evaluate
from csgnn_dgl.training.config import config_of_checkpoint
from tests.models.toys import Bag, Counting
from tests.tolerances import TOLERANCE

FIXTURES = Path(__file__).parent / "fixtures"


class Base(Model):
    def __init__(self, depth: int = 2, sizes: Sequence[int] = (3, 4), names: str = "ab") -> None:
        super().__init__()
        self.layer = nn.Linear(depth, depth)


class Derived(Base):
    def __init__(self, width: int, make: Any = None, **shared: Any) -> None:
        super().__init__(**shared)
        self.seen = dict(self.config)


class Same(Derived):
    """Has no constructor of its own."""


@pytest.mark.parametrize("kind", [Derived, Same])
def test_the_config_is_taken_from_the_constructor(kind: type[Derived]) -> None:
    model = kind(5, depth=1, make=Bag)
    wanted = {"width": 5, "make": "tests.models.toys.Bag", "depth": 1, "sizes": [3, 4], "names": "ab"}
    assert model.config == model.seen == wanted
    assert Base(1).config == {"depth": 1, "sizes": [3, 4], "names": "ab"}
    assert list(inspect.signature(kind).parameters) == ["width", "make", "shared"]
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), kind(**{**model.config, "make": Bag})):
        assert type(twin) is kind
        assert twin.config == wanted
    with pytest.raises(TypeError, match="heigth"):
        kind(5, heigth=3)


def test_arguments_that_no_config_can_hold_are_refused() -> None:
    class Unnamed(Model):
        def __init__(self, *sizes: int) -> None:
            super().__init__()

    with pytest.raises(TypeError, match=r"Unnamed takes \*sizes: int, which has no name"):
        Unnamed(1, 2)
    with pytest.raises(InputError, match="cannot be imported by a name"):
        Derived(1, make=lambda: None)
    with pytest.raises(InputError, match="cannot be imported by a name"):
        Derived(1, make=nn.Linear(1, 1))


def test_models_stand_under_their_names() -> None:
    package = "csgnn_dgl.models.classifiers"
    own = [name for name in CLASSIFIERS if CLASSIFIERS[name].__module__.startswith(f"{package}.")]
    assert "csgnn" in own  # other tests register some of their own
    assert all(CLASSIFIERS[name].__module__ == f"{package}.{name}" for name in own)
    assert list(DOS_MODELS) == ["agni", "csgnn", "schnet"]
    assert CLASSIFIERS["csgnn"] is CLASSIFIERS.find("csgnn_dgl.models.CSGNN") is CSGNN
    assert [DOS_MODELS.name_of(kind) for kind in DOS_MODELS.values()] == [*DOS_MODELS]
    assert CLASSIFIERS.name_of(Bag) == "tests.models.toys.Bag"
    for name in ("pointnet2", "tests.models.toys.Sack", "tests.models.toys", "os.getcwd", "", ".."):
        with pytest.raises(InputError, match=re.escape(f"{name!r} is no classifier of point clouds")):
            CLASSIFIERS.find(name)


def test_a_model_is_found_by_its_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "toybox"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    import toybox  # type: ignore[import-not-found]

    toybox.MODELS = models = Registry[Classifier]("classification", "toy", "toybox")
    (folder / "bag.py").write_text(
        "from csgnn_dgl.models import Classifier\nfrom toybox import MODELS\n"
        "@MODELS.register('bag')\nclass Bag(Classifier):\n"
        "    def forward_points(self, points):\n        return points\n"
    )
    assert "toybox.bag" not in sys.modules
    assert list(models) == ["bag"]
    assert models.build("bag", num_classes=3).config == {"num_classes": 3, "pose": "none", "smoothing": 0.0}
    assert models.register("bag")(models["bag"]) is models["bag"]
    with pytest.raises(ValueError, match="toybox.bag.Bag is called 'bag'; give csgnn_dgl.*CSGNN another name"):
        models.register("bag")(CSGNN)


def test_a_module_from_elsewhere_gets_a_config_and_comes_back(tmp_path: Path) -> None:
    model: Any = CLASSIFIERS.build("tests.models.toys.Bag", num_classes=5)
    points = torch.randn(2, 9, 3)
    assert model.config == {"num_classes": 5, "width": 8}
    CLASSIFIERS.write(tmp_path / "bag.ckpt", model, class_names=("a", "b", "c", "d", "e"))
    again: Any = CLASSIFIERS.load(tmp_path / "bag.ckpt")
    assert isinstance(again, Bag)
    assert again.class_names == ("a", "b", "c", "d", "e")
    assert torch.equal(again(points), model(points))
    with pytest.raises(InputError, match="bag.ckpt holds a Bag; give one of a CSGNN"):
        CSGNN.from_checkpoint(tmp_path / "bag.ckpt")
    with pytest.raises(InputError, match="Bag keeps no config"):
        CLASSIFIERS.write(tmp_path / "other.ckpt", Bag())
    assert not (tmp_path / "other.ckpt").exists()
    grid = {"start": 0.0, "width": 0.5, "count": 4}
    DOS_MODELS.write(tmp_path / "dos.ckpt", DOS_MODELS.build(Counting, num_bins=4), data={"grid": grid})
    assert isinstance(DOS_MODELS.load(tmp_path / "dos.ckpt"), Counting)


def test_a_checkpoint_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "__init__.py").write_text("")
    for name in ("nets", "layers"):
        (tmp_path / "foreign" / f"{name}.py").write_text("from tests.models.toys import Bag as Net, TwoWeights as Conv")
    monkeypatch.syspath_prepend(tmp_path)
    CLASSIFIERS.write(tmp_path / "net.ckpt", CLASSIFIERS.build(Bag, num_classes=5))
    CLASSIFIERS.write(tmp_path / "conv.ckpt", CSGNN(**CSGNN.tiny, make_intra="tests.models.toys.TwoWeights"))
    for file, path, change in (
        ("net", "foreign.nets", {"model": "foreign.nets"}),
        ("net", "foreign.nets.Net", {"model": "foreign.nets.Net"}),
        ("conv", "foreign.layers.Conv", {"config": {**CSGNN.tiny, "make_intra": "foreign.layers.Conv"}}),
    ):
        checkpoint = torch.load(tmp_path / f"{file}.ckpt", weights_only=True)
        checkpoint["csgnn"].update(change)
        torch.save(checkpoint, tmp_path / f"{file}.ckpt")
        wanted = f"{file}.ckpt names {path}, which is no class of this package"
        with pytest.raises(InputError, match=re.escape(wanted)):
            CLASSIFIERS.load(tmp_path / f"{file}.ckpt")
        with pytest.raises(InputError, match=re.escape(wanted)):
            evaluate(tmp_path / f"{file}.ckpt")
        assert not {"foreign.nets", "foreign.layers"} & sys.modules.keys()
    importlib.import_module("foreign.layers")
    assert isinstance(CLASSIFIERS.load(tmp_path / "conv.ckpt"), CSGNN)
    CLASSIFIERS.write(tmp_path / "task.ckpt", CLASSIFIERS.build(Bag, num_classes=5))
    checkpoint = torch.load(tmp_path / "task.ckpt", weights_only=True)
    checkpoint["csgnn"]["task"] = "foreign.nets"
    torch.save(checkpoint, tmp_path / "task.ckpt")
    with pytest.raises(InputError, match="task.ckpt names foreign.nets"):
        evaluate(tmp_path / "task.ckpt")
    assert "foreign.nets" not in sys.modules
    # nor does the config of a run say what may be named; whoever reads it does
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "net.ckpt").rename(tmp_path / "run" / "checkpoints" / "best.ckpt")
    (tmp_path / "run" / "config.yaml").write_text("model: {network: {class_path: foreign.nets.Net}}")
    with pytest.raises(InputError, match="best.ckpt names foreign.nets.Net"):
        config_of_checkpoint(tmp_path / "run", TASK)
    with trusting("foreign.nets.Net"):
        network = config_of_checkpoint(tmp_path / "run", TASK)["model"]["network"]
    assert network["class_path"] == "tests.models.toys.Bag"


@pytest.mark.parametrize("path", ["os.system", "csgnn_dgl.files.os.system", "torch.nn.Linear", "csgnn_dgl.data.load"])
def test_a_checkpoint_names_nothing_but_modules_of_ours(tmp_path: Path, path: str) -> None:
    CLASSIFIERS.write(tmp_path / "conv.ckpt", CSGNN(**CSGNN.tiny))
    checkpoint = torch.load(tmp_path / "conv.ckpt", weights_only=True)
    for change in ({"model": path}, {"config": {**CSGNN.tiny, "make_intra": path}}):
        torch.save({**checkpoint, "csgnn": {**checkpoint["csgnn"], **change}}, tmp_path / "other.ckpt")
        with pytest.raises(InputError, match=f"other.ckpt names {path}, which is no class of this package"):
            CLASSIFIERS.load(tmp_path / "other.ckpt")


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    assert checkpoint_file(tmp_path / "some.ckpt") == tmp_path / "some.ckpt"
    with pytest.raises(InputError, match="best.ckpt: there is no such checkpoint"):
        read_checkpoint(tmp_path)
    model = AGNI(**AGNI.tiny)
    DOS_MODELS.write(tmp_path / "checkpoints" / "best.ckpt", model)
    again = AGNI.from_checkpoint(tmp_path)
    assert (again.config, again.training) == (model.config, False)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "some.ckpt"
    model = AGNI(**AGNI.tiny)
    DOS_MODELS.write(file, model)
    with pytest.raises(InputError, match="some.ckpt holds no classifier of point clouds; give a checkpoint that"):
        CSGNN.from_checkpoint(file)
    checkpoint = torch.load(file, weights_only=True)
    for changes, message in (
        ({"model": "unheard of"}, "holds no model of the DOS that can be made here: 'unheard of' is no model of"),
        ({"config": {"hidden": 9}}, r"does not fit the model 'agni' of this version \(RuntimeError\)"),
        ({"config": {"depth": 9}}, r"does not fit the model 'agni' of this version \(TypeError\)"),
        ({"config": {"hidden": 0}}, r"does not fit the model 'agni' of this version \(ValueError\)"),
    ):
        torch.save({**checkpoint, "csgnn": {**checkpoint["csgnn"], **changes}}, file)
        with pytest.raises(InputError, match=f"some.ckpt {message}"):
            AGNI.from_checkpoint(file)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_unreadable_checkpoints_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "some.ckpt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"some.ckpt cannot be read as a checkpoint"):
        read_checkpoint(file)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such checkpoint"):
        read_checkpoint(tmp_path / "missing.ckpt")
    unnamed = {"state_dict": {}, "csgnn": {"config": {}, "format": FORMAT, "task": "dos"}}
    foreign: list[Any] = [{"weight": torch.zeros(3)}, {"csgnn": {"config": {}}}, torch.zeros(3), unnamed]
    for content in foreign:
        torch.save(content, tmp_path / "foreign.ckpt")
        with pytest.raises(InputError, match="holds no csgnn_dgl model"):
            read_checkpoint(tmp_path / "foreign.ckpt")
    torch.save({"state_dict": {}, "csgnn": {"config": {}, "format": 99}}, tmp_path / "future.ckpt")
    with pytest.raises(InputError, match=f"has format 99 and this version reads {FORMAT}"):
        read_checkpoint(tmp_path / "future.ckpt")


def test_nothing_is_unpickled_from_a_checkpoint(tmp_path: Path) -> None:
    path, trap = tmp_path / "model.ckpt", tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (trap.write_text, ("",))

    torch.save({"csgnn": Trap()}, path)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        CSGNN.from_checkpoint(path)
    assert not trap.exists()


def test_checkpoint_of_other_classes_is_refused() -> None:
    checkpoint = {"csgnn": {"config": {"level": 1}, "class_names": ["a", "b"]}}
    check_fits("x.ckpt", checkpoint, {"level": 1}, ["a", "b"])
    check_fits("x.ckpt", checkpoint, {"level": 1, "form": "fast"})
    with pytest.raises(
        InputError, match=r"another architecture \(level = 1 in the file and 2 here; model = None in the "
    ):
        check_fits("x.ckpt", checkpoint, {"level": 2}, model="csgnn")
    message = (
        "x.ckpt was trained on other classes than those of the data (2 classes in the checkpoint and 4 in the data; "
        "only in the checkpoint: 'b'; only in the data: 'c', 'd', 'e'); give the data"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        check_fits("x.ckpt", checkpoint, {"level": 2}, ["a", "c", "d", "e"])
    with pytest.raises(InputError, match="another order: class 0 is 'a' in the checkpoint and 'b' in the data"):
        check_fits("x.ckpt", checkpoint, {"level": 1}, ["b", "a"])


def test_a_class_that_came_or_went_is_named_however_many_there_are() -> None:
    names = [f"class {number:02}" for number in range(40)]
    checkpoint = {"csgnn": {"config": {}, "class_names": names}}
    with pytest.raises(InputError, match=r"40 classes in the checkpoint and 41 in the data; only in the data: 'new'\)"):
        check_fits("x.ckpt", checkpoint, {}, [*names, "new"])
    with pytest.raises(InputError, match=r"only in the checkpoint: 'class 39'\)"):
        check_fits("x.ckpt", checkpoint, {}, names[:-1])
    with pytest.raises(InputError, match="only in the checkpoint: 'class 00', .* 'class 09' and 30 more; only in the"):
        check_fits("x.ckpt", checkpoint, {}, ["other"])


def test_plain_keeps_values_and_drops_types() -> None:
    value = {"a": (1, 2.5), "b": torch.tensor(3), "c": None, 4: {"d": True}, "p": torch.float32, "k": nn.Linear}
    wanted = {"a": [1, 2.5], "b": 3, "c": None, "4": {"d": True}, "p": "torch.float32"}
    assert plain(value) == {**wanted, "k": "torch.nn.modules.linear.Linear"}


def test_arguments_of_a_module_from_elsewhere() -> None:
    assert arguments_of(Bag, 3) == {"num_classes": 3, "width": 8}
    assert arguments_of(nn.Linear, 3, 4, bias=False) == {
        "in_features": 3,
        "out_features": 4,
        "bias": False,
        "device": None,
        "dtype": None,
    }


def test_a_change_of_the_format_takes_one_upgrade_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename_width(checkpoint: dict[str, Any]) -> None:
        description = checkpoint["csgnn"]
        description["config"]["hidden"] = description["config"].pop("width")
        description["format"] = 5

    model = AGNI(**AGNI.tiny)
    DOS_MODELS.write(tmp_path / "old.ckpt", model)
    checkpoint = torch.load(tmp_path / "old.ckpt", weights_only=True)
    checkpoint["csgnn"]["config"]["width"] = checkpoint["csgnn"]["config"].pop("hidden")
    older = copy.deepcopy(checkpoint)
    older["csgnn"]["format"] = 2
    monkeypatch.setattr(base, "FORMAT", 5)
    monkeypatch.setitem(base.UPGRADES, 4, rename_width)
    for content in (checkpoint, older):
        torch.save(content, tmp_path / "old.ckpt")
        assert AGNI.from_checkpoint(tmp_path / "old.ckpt").config == model.config


@pytest.mark.parametrize("name", ["classification-csgnn", "dos-agni", "dos-csgnn", "dos-schnet"])
def test_old_checkpoints_give_the_numbers_that_they_gave(name: str) -> None:
    """Checkpoints of format 2, and what the version that wrote them answered to the inputs beside them."""
    file = FIXTURES / f"format2-{name}.ckpt"
    given = torch.load(FIXTURES / "format2-answers.pt", weights_only=True)
    with torch.no_grad():
        if name.startswith("classification"):
            model = CSGNN.from_checkpoint(file)
            found = model(given["points"])
            assert len(model.class_names) == model.num_classes == 13
        else:
            trained = load_dos_model(file)
            environments = Environments(given["vectors"], given["centre"], given["neighbour"], len(given["snapshot"]))
            found = trained.network(environments, given["snapshot"], 2)
            assert trained.grid.count == 310
    torch.testing.assert_close(found, given["answers"][name], **TOLERANCE[torch.float32])
