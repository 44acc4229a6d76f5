"""Damaged files give a result or one sentence; a short run of `tests.reliability.fuzzing`, which says more."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csgnn_dgl.errors import InputError
from tests.reliability.fuzzing import SELDOM, one, read, run, seeds

CORPUS = seeds()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(set(CORPUS) - set(SELDOM))), st.integers(0, 2**32))
def test_damaged_files_give_a_result_or_one_sentence(name, number):
    with TemporaryDirectory() as folder:
        try:
            read(Path(folder), *one(name, CORPUS, number))
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.slow
def test_many_damaged_files_within_time_and_memory(tmp_path):
    _, failures, _ = run(int(os.environ.get("CSGNN_FUZZ", "2000")), keep=tmp_path)
    assert not failures
