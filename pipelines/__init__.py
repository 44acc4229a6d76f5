"""The programs: ``python -m pipelines.modelnet`` and its siblings."""
