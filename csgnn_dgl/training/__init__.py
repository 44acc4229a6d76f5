"""What both experiments share in training: modules, data modules, evaluation, and the run folder."""

from csgnn_dgl.training.checkpoints import check_fits, read_checkpoint
from csgnn_dgl.training.data import ModelNetData
from csgnn_dgl.training.dos_checkpoints import TrainedDOS, load_dos_model
from csgnn_dgl.training.dos_data import DOSData
from csgnn_dgl.training.dos_evaluation import DOSScore, score_dos
from csgnn_dgl.training.dos_invariance import DOSInvariance, measure_dos_invariance
from csgnn_dgl.training.dos_module import DOSModule
from csgnn_dgl.training.dos_reports import write_dos_results
from csgnn_dgl.training.evaluation import Score, measure_so3_error, score, score_views, vote, wilson_interval
from csgnn_dgl.training.module import ClassificationModule, TrainingModule
from csgnn_dgl.training.reports import write_results
from csgnn_dgl.training.runs import RunFolder

__all__ = [
    "ClassificationModule",
    "DOSData",
    "DOSInvariance",
    "DOSModule",
    "DOSScore",
    "ModelNetData",
    "RunFolder",
    "Score",
    "TrainedDOS",
    "TrainingModule",
    "check_fits",
    "load_dos_model",
    "measure_dos_invariance",
    "measure_so3_error",
    "read_checkpoint",
    "score",
    "score_dos",
    "score_views",
    "vote",
    "wilson_interval",
    "write_dos_results",
    "write_results",
]
