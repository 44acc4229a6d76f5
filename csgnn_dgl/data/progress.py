"""Showing how far long reading and fetching has come."""

from typing import Any


def progress_bar(items: Any = None, **options: Any) -> Any:
    """Return `tqdm.tqdm` of these items and options; tqdm is imported only where a bar is wanted."""
    from tqdm import tqdm

    return tqdm(items, **options)
