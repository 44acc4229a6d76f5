"""The allocator setting, in a process of its own because it can't be taken back, and tensors in huge pages."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from csgnn_dgl.allocator import empty

PROGRAM = """
import resource, torch
from csgnn_dgl.allocator import keep_large_blocks
kept = keep_large_blocks()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.empty(16 << 20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(kept, faults())
"""
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.slow
def test_freed_blocks_are_used_again_without_page_faults() -> None:
    output = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    if sys.platform.startswith("linux"):
        assert output[0] == "True"
        assert int(output[1]) < 20 * 100  # a fresh block of 16 MiB costs 4,096 faults, or 8 with huge pages


@pytest.mark.parametrize("shape", [(3, 0), (5, 7), (9, 1024, 1025)])
def test_empty_tensors_have_their_shape_and_can_be_written(shape: tuple[int, ...]) -> None:
    tensor = empty(shape, torch.float32)
    assert tensor.shape == shape and tensor.dtype == torch.float32 and tensor.is_contiguous()
    assert float(tensor.fill_(1).sum(dtype=torch.float64)) == tensor.numel()


def test_large_tensors_are_cleared_in_huge_pages() -> None:
    if not SETTING.is_file() or "[never]" in SETTING.read_text(encoding="ascii"):
        pytest.skip("this system has no huge pages to give")
    tensor = empty((256, 1 << 20), torch.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensor.fill_(1)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 256 * 256 // 2  # of usual pages there are 256 in a megabyte; few systems have no huge one left
