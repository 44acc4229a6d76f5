"""The forms of a layer that can run here; every test of a layer takes them from this list."""

from csgnn_dgl.nn import kernels
from csgnn_dgl.nn.forms import Form

FORMS: tuple[Form, ...] = ("reference", "fast", *(("compiled",) if kernels.available() else ()), "auto")
