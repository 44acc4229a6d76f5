"""Trainings that are killed and stopped, files that are damaged, on whole programs as users start them."""
