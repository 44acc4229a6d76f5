import pytest
import torch

from csgnn_dgl.electronic import EnergyGrid
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import AGNI, DOS_MODELS
from csgnn_dgl.tasks.dos import TrainedDOS, load_dos_model
from tests.toy_snapshots import NETWORKS


def save(path, kind="agni", **changes):
    """Write the checkpoint of a fresh network and return the network."""
    network = DOS_MODELS[kind](**NETWORKS[kind])
    grid = {"start": -30.0, "width": 0.1, "count": 310}
    data = {"source": "x", "grid": grid, "valences": {"C": 4.0}}
    description = DOS_MODELS.describe(network, data=data, training={"alpha": 0.1})
    state = {f"network.{name}": value for name, value in network.state_dict().items()} | {"other": torch.zeros(1)}
    torch.save({"csgnn": {**description, **changes}, "state_dict": state, "epoch": 6}, path)
    return network


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_model_is_made_again_with_its_weights(tmp_path, kind):
    (tmp_path / "checkpoints").mkdir()
    network = save(tmp_path / "checkpoints" / "best.ckpt", kind)
    for place in (tmp_path, tmp_path / "checkpoints" / "best.ckpt"):
        model = load_dos_model(place)
        assert type(model.network) is type(network)
        assert not model.network.training
        assert all(torch.equal(value, model.network.state_dict()[k]) for k, value in network.state_dict().items())
        assert model.valences == {"C": 4.0}
        assert model.facts["epochs_trained"] == 7
        assert model.facts["alpha"] == 0.1


def test_other_checkpoints_are_refused(tmp_path):
    file = tmp_path / "some.ckpt"
    save(file, model="unheard of")
    with pytest.raises(InputError, match=r"some.ckpt holds no model of the DOS"):
        load_dos_model(file)
    save(file, config={"hidden": 9})
    with pytest.raises(InputError, match=r"some.ckpt does not fit the model 'agni' of this version \(RuntimeError\)"):
        load_dos_model(file)
    save(file, data={"grid": {"count": 310, "step": 0.1}})
    with pytest.raises(InputError, match=r"some.ckpt says no energy bins"):
        load_dos_model(file)
    with pytest.raises(InputError, match="there is no such checkpoint"):
        load_dos_model(tmp_path / "nowhere.ckpt")


def test_the_grid_must_be_that_of_the_model():
    with pytest.raises(InputError, match="the model predicts 310 energy bins and the grid has 10"):
        TrainedDOS(AGNI(**NETWORKS["agni"]), EnergyGrid(0, 1, 10))


def test_without_a_path_the_shipped_weights_are_meant(tmp_path, monkeypatch):
    monkeypatch.setattr("csgnn_dgl.tasks.dos.trained.files", lambda _: tmp_path)
    with pytest.raises(InputError, match="no weights come with this installation"):
        load_dos_model()
    (tmp_path / "weights").mkdir()
    save(tmp_path / "weights" / "dos.ckpt")
    assert load_dos_model().facts["model"] == "agni"
