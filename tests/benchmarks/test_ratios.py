import pytest

from benchmarks.ratios import compare, ratios, read, store
from csgnn_dgl.errors import InputError

MACHINE = {"vector_instructions": "AVX512", "bf16_instructions": True}
RATIOS = {"auto, training": 2.0, "auto-bf16, training": 4.0, "auto, memory": 2.0}


def test_ratios_are_the_composition_s_needs_over_ours():
    speed = {"speedups": {"auto": {"training": 2.5}, "composition": {"training": 1.2}}}
    memory = {"bytes": {"auto": {"added": 10, "peak": 50}, "composition-as-is": {"added": 30, "peak": 70}}}
    assert ratios(speed, memory) == {"auto, training": 2.5, "auto, memory": 3.0}


@pytest.mark.parametrize(
    ("change", "verdicts", "well"),
    [
        ({}, ["as good", "as good", "as good"], True),
        ({"auto, training": 1.61}, ["as good", "as good", "as good"], True),
        ({"auto, training": 1.5}, ["worse by 25 %", "as good", "as good"], False),
        ({"auto, training": 9.0}, ["as good", "as good", "as good"], True),
        ({"auto, memory": 1.0}, ["as good", "as good", "worse by 50 %"], False),
        ({"auto, training": None}, ["missing", "as good", "as good"], False),
        ({"auto-bf16, training": 1.0}, ["as good", "worse by 75 %", "as good"], False),
    ],
)
def test_a_ratio_may_be_worse_by_the_slack(change, verdicts, well):
    found = {name: value for name, value in {**RATIOS, **change}.items() if value is not None}
    rows, outcome = compare(found, RATIOS, slack=0.2)
    assert [row[3] for row in rows] == verdicts
    assert outcome is well


def test_stored_ratios_are_read_back_on_machines_of_the_same_kind(tmp_path):
    other = {"vector_instructions": "AVX2", "bf16_instructions": False}
    store({"auto, training": 2.0}, MACHINE, tmp_path / "r.json")
    with pytest.raises(InputError, match="r.json has ratios of machines with AVX512, bfloat16, and this"):
        read(other, tmp_path / "r.json")
    store({"auto, training": 3.0}, other, tmp_path / "r.json")
    assert read(MACHINE, tmp_path / "r.json") == {"auto, training": 2.0}
    assert read(other, tmp_path / "r.json") == {"auto, training": 3.0}
    (tmp_path / "bad.json").write_text("[1]")
    for name in ("bad.json", "none.json"):
        with pytest.raises(
            InputError, match=f"{name} holds no ratios to compare with; write them with `check --store`"
        ):
            read(MACHINE, tmp_path / name)
