"""Arguments that must be whole numbers."""

from typing import Any

import numpy as np
import pytest

from csgnn_dgl.errors import check_counts


def test_whole_numbers_of_any_kind_are_counts() -> None:
    check_counts(one=1, many=np.int64(7))
    check_counts(0, none=0)


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3", None])
def test_other_things_are_none(value: Any) -> None:
    with pytest.raises(ValueError, match=f"channels must be an integer of at least 1, not {value!r}"):
        check_counts(num_spheres=2, channels=value)
    with pytest.raises(ValueError, match="chunk must be an integer of at least 3, not 2"):
        check_counts(3, chunk=2)
