"""Classifying shapes: files, folders and points, and what is told of them."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import csgnn_dgl
from csgnn_dgl.data import BUILTIN_CLASSES, CloudTransform, read_cloud
from csgnn_dgl.data.clouds.shapes import make_shape
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.models.places import weights_file
from csgnn_dgl.tasks.classification.answer_figure import answer_figure, figure_names, training_clouds
from csgnn_dgl.tasks.classification.answers import answer_text, answer_values, answers_table
from csgnn_dgl.tasks.classification.given import clouds_of, files_of
from csgnn_dgl.tasks.classification.prediction import predict_clouds
from csgnn_dgl.tasks.classification.trained import TrainedClassifier, load_classifier
from tests.tolerances import COARSE, EXACT, ROUNDED, TOLERANCE, approx

TETRAHEDRON = "OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"


class Widths(nn.Module):
    """Logits from how wide clouds are along each axis."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3, 3, bias=False)
        self.last.weight.data = 4 * torch.eye(3)

    def forward(self, points):
        return self.last(points.std(dim=1))


def test_an_answer_that_is_not_finite_is_refused():
    model = Widths()
    model.register_forward_hook(lambda module, points, logits: logits * torch.inf)
    with pytest.raises(InputError, match="^cloud: the model's answer is not finite; its numbers overflow"):
        csgnn_dgl.classify(np.random.default_rng(0).normal(size=(1024, 3)), model)


@pytest.fixture(scope="module")
def shipped():
    """The weights that come with the package."""
    return load_classifier("builtin-small")


@pytest.fixture
def folder(tmp_path):
    """Files of some formats, among others."""
    place = tmp_path / "shapes"
    (place / "deep").mkdir(parents=True)
    (place / "mesh.off").write_text(TETRAHEDRON)
    np.save(place / "deep" / "chair.npy", make_shape("chair", "test", 0))
    np.savetxt(place / "mug.xyz", make_shape("mug", "test", 1))
    (place / "notes.md").write_text("no shape")
    (place / ".hidden.off").write_text(TETRAHEDRON)
    return place


def test_one_file_gives_one_prediction_and_a_folder_all_of_its_files(shipped, folder, caplog):
    one = csgnn_dgl.classify(folder / "deep" / "chair.npy", shipped)
    assert (one.label, one.name, one.class_names) == ("chair", str(folder / "deep" / "chair.npy"), BUILTIN_CLASSES)
    assert one.probabilities.shape == (13,)
    assert one.probabilities.sum() == approx(1.0, **EXACT)
    assert one.top(2)[0] == ("chair", one.probability) and one.top()[1][1] == np.sort(one.probabilities)[-2]
    many = csgnn_dgl.classify(folder, "builtin-small")
    assert [found.name for found in many] == ["deep/chair.npy", "mesh.off", "mug.xyz"]
    assert [many[0].label, many[2].label] == ["chair", "mug"]
    np.testing.assert_allclose(many[0].probabilities, one.probabilities, **TOLERANCE[torch.float32])
    assert "passed over .md (1)" in caplog.text
    listed = csgnn_dgl.classify([folder / "mug.xyz", folder / "deep"], shipped)
    assert [found.label for found in listed] == ["mug", "chair"]


def test_probabilities_are_those_of_the_logits_over_the_temperature(shipped, folder):
    file = folder / "mesh.off"
    points = CloudTransform()(torch.from_numpy(read_cloud(file, 1024))[None])
    with torch.no_grad():
        logits = shipped.network(points).double()
    found = csgnn_dgl.classify(file, shipped)
    assert shipped.temperature != 1.0
    wanted = torch.exp(logits / shipped.temperature)[0]
    np.testing.assert_allclose(found.probabilities, wanted / wanted.sum(), **TOLERANCE[torch.float32])
    np.testing.assert_array_equal(found.points, points[0])


def test_points_are_taken_in_any_unit_place_and_number(shipped):
    points = make_shape("table", "test", 3)
    one = csgnn_dgl.classify(points, shipped)
    far = csgnn_dgl.classify(torch.from_numpy(1000 * points.astype(np.float64) + 5), shipped)
    assert one.label == far.label == "table"
    np.testing.assert_allclose(far.probabilities, one.probabilities, **COARSE)
    several = csgnn_dgl.classify([points, points[:700], np.concatenate([points, points])], shipped)
    assert [found.name for found in several] == ["cloud 0", "cloud 1", "cloud 2"]
    assert {found.label for found in several} == {"table"}
    assert len(csgnn_dgl.classify(np.stack([points, points]), shipped)) == 2
    turned = np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=-1)  # y up
    np.testing.assert_allclose(csgnn_dgl.classify(turned, shipped, up_axis="y").points, one.points, **ROUNDED)


def test_a_training_shape_is_near_to_its_own_kind(shipped):
    name = shipped.domain.names[100]
    kind, number = name.split("/")
    found = csgnn_dgl.classify(make_shape(kind, "train", int(number)), shipped)
    assert found.nearest[0].label == kind
    assert name in {near.name for near in found.nearest}
    distances = [near.distance for near in found.nearest]
    assert distances == sorted(distances) and len(distances) == 3
    assert found.deviation == approx(np.mean(distances) / shipped.domain.limit, **ROUNDED)
    assert not found.is_outside


def test_shapes_unlike_the_training_are_told_in_one_note(shipped, caplog):
    rng = np.random.default_rng(0)
    clouds = [make_shape("sofa", "test", 0), rng.normal(size=(1024, 3)), rng.normal(size=(1024, 3)) * (1, 0.01, 0.01)]
    found = csgnn_dgl.classify(clouds, shipped)
    assert [item.is_outside for item in found] == [False, True, True]
    (record,) = caplog.records
    assert "unlike the training shapes (as 2 of 3 shapes are)" in record.getMessage()


def test_a_network_alone_is_asked_as_it_is(caplog):
    model = Widths()
    points = np.random.default_rng(0).normal(size=(1024, 3)) * (1, 3, 2)
    found = csgnn_dgl.classify(points, model)
    assert (found.label, found.class_names) == ("class 1", ("class 0", "class 1", "class 2"))
    widths = 4 * found.points.std(axis=0, ddof=1)
    np.testing.assert_allclose(found.probabilities, np.exp(widths) / np.exp(widths).sum(), **TOLERANCE[torch.float32])
    assert (found.deviation, found.nearest, found.rotated) == (None, (), None)
    assert not found.is_outside
    assert "deviation" not in answer_text(found) + answers_table([found])
    with pytest.raises(InputError, match="gives 3 logits and has 2 classes"):
        csgnn_dgl.classify(points, TrainedClassifier(model, ("one", "two")))


def test_rotations_are_counted_by_their_answers():
    points = np.random.default_rng(0).normal(size=(1024, 3)) * (1, 2, 1)
    model = TrainedClassifier(Widths(), ("x", "y", "z"))
    (found,) = predict_clouds(model, clouds_of(points, 1024), rotations=60)
    turned = found.rotated
    assert turned is not None and sum(turned.answers.values()) == turned.count == 60
    assert set(turned.answers) == {"x", "y", "z"} and turned.lowest < 1 / 3 < found.probability
    assert list(turned.answers.values()) == sorted(turned.answers.values(), reverse=True)
    text = answer_text(found)
    assert f"under 60 random rotations: {next(iter(turned.answers))} " in text
    assert answer_values(found)["rotated"]["answers"] == turned.answers
    with pytest.raises(InputError, match="rotations is -1; give 0 or more"):
        predict_clouds(model, clouds_of(points, 1024), rotations=-1)


@pytest.mark.parametrize(
    ("kind", "options"), [*((kind, {}) for kind in sorted(CLASSIFIERS)), ("csgnn", {"pose": "principal24"})]
)
def test_every_classifier_shows_what_its_last_layer_gets(kind, options):
    torch.manual_seed(0)
    model = CLASSIFIERS.build(kind, **CLASSIFIERS[kind].tiny, num_classes=5, **options)
    trained = TrainedClassifier(model)
    points = torch.randn(2, getattr(model, "num_points", 64), 3)
    logits, embeddings = trained.answer(points)
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.out_features == 5][-1]
    np.testing.assert_allclose(last(embeddings.float()).detach(), logits, **TOLERANCE[torch.float32])
    assert not any(layer._forward_pre_hooks for layer in model.modules())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.off", "missing.off: there is no such file"),
        ([], "shapes is empty"),
        (np.zeros((5, 2)), r"cloud has shape \(5, 2\); give points as \(N, 3\)"),
        (np.full((5, 3), np.nan), "NaN or infinite"),
        (np.zeros((5, 3)), "no extent"),
        ([np.ones((5, 3)), "a.off"], "shapes has paths .* among points"),
        (3, "shapes is a int; give paths of files or folders, or points"),
        ({"a": 1}, "shapes is a dict"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(given, message):
    with pytest.raises(InputError, match=message):
        csgnn_dgl.classify(given, Widths())


def test_a_folder_without_shapes_says_what_it_has(tmp_path):
    (tmp_path / "a.md").write_text("")
    with pytest.raises(InputError, match=r"no mesh or point file in the folder \(passed over: .md \(1\)\)"):
        files_of([tmp_path])
    with pytest.raises(InputError, match="model is 3; give weights by name"):
        csgnn_dgl.classify(np.ones((5, 3)), 3)  # type: ignore[arg-type]


def test_weights_of_another_form_are_refused(tmp_path):
    content = torch.load(weights_file("builtin-small"), weights_only=True)
    published = content["published"]
    foreign = {**published["domain"], "labels": published["domain"]["labels"] - 1}
    for wrong in ({}, {**published, "temperature": 0.0}, *({**published, "domain": one} for one in ({}, foreign)), 5):
        torch.save({**content, "published": wrong}, tmp_path / "x.ckpt")
        with pytest.raises(InputError, match="x.ckpt has a calibration of another form"):
            load_classifier(tmp_path / "x.ckpt")


def test_checkpoints_that_are_not_calibrated_say_so(build, tmp_path, caplog):
    runner, model, clouds, folder = build(max_epochs=1)
    runner.fit(model, clouds)
    file = shutil.copy(folder.run.best, tmp_path / "own.ckpt")
    trained = load_classifier(file)
    assert (trained.temperature, trained.domain, trained.num_points) == (None, None, clouds.num_points)
    assert trained.class_names == clouds.class_names
    assert "own.ckpt: its probabilities are not calibrated" in caplog.text


def test_tables_have_a_line_for_each_shape_and_names_that_cannot_break_them(shipped):
    found = csgnn_dgl.classify([make_shape("car", "test", 0), np.random.default_rng(0).normal(size=(1024, 3))], shipped)
    lines = answers_table(found).splitlines()
    assert lines[0].split("|")[1:6] == [" shape   ", " answer ", " probability ", lines[0].split("|")[4], " deviation "]
    assert lines[2].startswith("| cloud 0 | car ") and " ! " not in lines[2] and " ! " in lines[3]
    assert json.loads(json.dumps(answer_values(found[1])))["unlike_training"] is True


def test_figures_are_named_as_their_files_and_never_alike(shipped):
    one = csgnn_dgl.classify(make_shape("car", "test", 0), shipped)
    names = ["a/b.off", "c/B.npy", "--x y.off", "é" * 200 + ".ply", "."]
    found = list(figure_names([dataclasses.replace(one, name=name) for name in names]))
    assert found[:3] == ["b", "B_2", "x_y"]
    assert len({name.casefold() for name in found}) == 5 and all(len(name.encode()) <= 80 for name in found)


def test_the_figure_has_the_cloud_its_features_and_the_nearest_shapes(shipped, figures, tmp_path):
    one = csgnn_dgl.classify(make_shape("chair", "test", 0), shipped)
    training = training_clouds(shipped)
    assert {near.name for near in one.nearest} <= set(training)
    assert next(iter(training.values())).shape == (1024, 3)
    figure = answer_figure(one, shipped, training)
    assert len(figure.axes) == 6
    assert "chair" in figure.get_suptitle()
    bare = csgnn_dgl.classify(make_shape("chair", "test", 0), Widths())
    assert len(answer_figure(bare, TrainedClassifier(Widths())).axes) == 2
    figure.savefig(tmp_path / "x.png")
    assert Path(tmp_path / "x.png").stat().st_size > 10_000


def test_training_shapes_that_are_not_at_hand_are_named_only(shipped, shapes_folder):
    elsewhere = dataclasses.replace(shipped, data={"source": "no-such-folder"})
    assert training_clouds(elsewhere) == {}
    with pytest.raises(InputError, match="no shape that the weights were trained on is here; give their training data"):
        training_clouds(elsewhere, shapes_folder)
    names = list(training_clouds(dataclasses.replace(elsewhere, domain=None), shapes_folder))
    assert len(names) == 42
    own = dataclasses.replace(elsewhere, domain=dataclasses.replace(shipped.domain, names=(names[7], "another")))
    assert list(training_clouds(own, shapes_folder)) == names
