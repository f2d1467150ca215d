"""Advice to the operating system about memory that weights lie in. Linux only; elsewhere nothing happens.

A product over one row reads all weights once: with 4 KB pages a third of that time goes into address translation.
Weights that were packed from a mapped file need the file's pages no more.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

HUGE_PAGE = 2 << 20
_COLLAPSE = 25  # MADV_COLLAPSE, Linux 6.1: huge pages now, not when the kernel finds the time
_MAPS = Path("/proc/self/maps")


def use_huge_pages() -> int:
    """Ask for huge pages under all large anonymous memory of this process. Returns the bytes for which they came."""
    if not sys.platform.startswith("linux"):
        return 0
    granted = 0
    for start, end in _large_anonymous():
        _advise(start, end, mmap.MADV_HUGEPAGE)
        if _advise(start, end, _COLLAPSE):
            granted += end - start
    return granted


def release_file_pages(tensors: Iterable[Tensor]) -> None:
    """Let go of the resident pages of those tensors that are views of a mapped file and were not written to since.

    They are read again from the file if anything asks for them, each page alone. Other tensors are left alone.
    """
    files = list(_mapped_files())
    for tensor in tensors:
        pages = FilePages.of(tensor, files)
        if pages is not None:
            pages.release()
            _advise(pages.start, pages.end, mmap.MADV_RANDOM)


@dataclass(frozen=True, slots=True)
class FilePages:
    """The whole pages of a tensor in a mapped file, as addresses."""

    start: int
    end: int

    @classmethod
    def of(cls, tensor: Tensor, files: Iterable[tuple[int, int]] | None = None) -> FilePages | None:
        """None for a tensor that is no view of a mapped file. `files`: the mapped ones, if they are known."""
        first, last = tensor.data_ptr(), tensor.data_ptr() + tensor.numel() * tensor.element_size()
        for start, end in _mapped_files() if files is None else files:
            if start <= first and last <= end:
                return cls(-(-first // mmap.PAGESIZE) * mmap.PAGESIZE, last // mmap.PAGESIZE * mmap.PAGESIZE)
        return None

    def release(self) -> None:
        """Let go of those that are resident. The tensor must not have been written to since it was mapped."""
        _advise(self.start, self.end, mmap.MADV_DONTNEED)


def _mapped_files() -> Iterator[tuple[int, int]]:
    """(start, end) of what is mapped of each file; advice on a part of it has parted the mapping. Linux only."""
    if not sys.platform.startswith("linux"):
        return
    whole, of = (0, 0), 0
    for start, end, inode, _ in _private_mappings():
        if inode and (start, inode) == (whole[1], of):
            whole = whole[0], end
            continue
        if of:
            yield whole
        whole, of = (start, end), inode
    if of:
        yield whole


def _large_anonymous() -> Iterator[tuple[int, int]]:
    for start, end, inode, name in _private_mappings():
        start, end = -(-start // HUGE_PAGE) * HUGE_PAGE, end // HUGE_PAGE * HUGE_PAGE
        if not inode and name in ("", "[heap]") and end > start:
            yield start, end


def _private_mappings() -> Iterator[tuple[int, int, int, str]]:
    """(start, end, inode, name) of readable private mappings; see proc(5). Inode 0: no file."""
    for line in _MAPS.read_text().splitlines():
        span, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights[0] == "r" and rights[3] == "p":
            start, end = (int(each, 16) for each in span.split("-"))
            yield start, end, int(inode), name[0] if name else ""


def _advise(start: int, end: int, advice: int) -> bool:
    return start < end and not _libc().madvise(
        ctypes.c_void_p(start), ctypes.c_size_t(end - start), ctypes.c_int(advice)
    )


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
