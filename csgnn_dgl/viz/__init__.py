"""Pictures of the concentric grid, of features on it and of clouds, for notebooks, pages and logs.

The functions ``draw_...`` draw on matplotlib axes, or make a figure of their own, and return the axes. Those in
`interactive` make plotly figures, where plotly is installed.
"""

from csgnn_dgl.viz.clouds import draw_cloud, draw_saliency, saliency
from csgnn_dgl.viz.curves import draw_so3_error
from csgnn_dgl.viz.features import draw_features, draw_map
from csgnn_dgl.viz.interactive import interactive_cloud, interactive_heterograph
from csgnn_dgl.viz.response import response_figure
from csgnn_dgl.viz.spheres import draw_heterograph, draw_pooling

__all__ = [
    "draw_cloud",
    "draw_features",
    "draw_heterograph",
    "draw_map",
    "draw_pooling",
    "draw_saliency",
    "draw_so3_error",
    "interactive_cloud",
    "interactive_heterograph",
    "response_figure",
    "saliency",
]
