"""The forms of a layer that can run here; every test of a layer takes them from this list."""

from csgnn_dgl._dgl import load_dgl
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.ops import library

HAS_DGL = load_dgl() is not None
FORMS: tuple[Form, ...] = (
    *(("reference",) if HAS_DGL else ()),
    "fast",
    *(("compiled",) if library.available() else ()),
    "auto",
)


def forms_on(device: str) -> tuple[Form, ...]:
    """Return the forms that run on a device: kernels and the CPU build of dgl know the CPU alone."""
    return FORMS if device == "cpu" else ("fast", "auto")
