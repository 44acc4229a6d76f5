from tests.tiny_training import build, shapes_folder

__all__ = ["build", "shapes_folder"]
