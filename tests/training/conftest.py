from tests.tiny_training import (
    build,
    build_dos,
    figures,
    inline_jobs,
    quick_figures,
    shapes_folder,
    snapshots_folder,
)

__all__ = ["build", "build_dos", "figures", "inline_jobs", "quick_figures", "shapes_folder", "snapshots_folder"]
