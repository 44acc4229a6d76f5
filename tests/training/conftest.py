from tests.tiny_training import build, build_dos, shapes_folder, snapshots_folder

__all__ = ["build", "build_dos", "shapes_folder", "snapshots_folder"]
