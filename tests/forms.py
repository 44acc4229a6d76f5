"""The forms of a layer that can run here; every test of a layer takes them from this list."""

from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.ops import library

FORMS: tuple[Form, ...] = ("reference", "fast", *(("compiled",) if library.available() else ()), "auto")
