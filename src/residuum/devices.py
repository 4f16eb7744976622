"""What the machine at hand offers: device, precision, and a description for the records."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import torch

from residuum.errors import UserError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT, _GIVEN_BACK = (2**28, 2**25), (2**20, 2**20)
"""Bytes: how much free memory stays at the end of the heap, and from which size on memory goes back once freed."""


def pick_device(name: str) -> torch.device:
    """ "auto" is a GPU where there is one; UserError for a device this machine does not have."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # "meta" has tensors but no numbers
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f'device "{name}" is not available here; use --device auto, or cpu') from None
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """ "auto" is bfloat16 where it is the faster one: on GPUs that compute in it, on processors with AMX tiles, and on
    AMD's with AVX512-BF16.

    Intel's AVX512-BF16 without AMX is slower than float32 in the convolutions' backward pass, and elsewhere bfloat16 is
    emulated: docs/results.md has the figures.
    """
    if name == "float32":
        return torch.float32
    if name in ("bfloat16", "float16"):
        return getattr(torch, name)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if device.type == "cpu" and _fast_bfloat16() else torch.float32


def _fast_bfloat16() -> bool:
    amd = _cpu_info("vendor_id") == "AuthenticAMD"
    return torch.cpu._is_amx_tile_supported() or (amd and torch.cpu._is_avx512_bf16_supported())


def describe_environment(device: torch.device, precision: torch.dtype) -> dict[str, str]:
    """Everything a number depends on besides code and data, as text."""
    from residuum import __version__

    return {
        "residuum": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "cores": str(os.cpu_count()),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": str(precision).removeprefix("torch."),
    }


def keep_freed_memory(keep: bool) -> None:
    """Have the C library (glibc) keep the memory that training frees for its next step, or give it back at once.

    Every step frees and asks for the same tensors again. Given back, all their pages are new ones each time: ResNet-20
    spent a quarter of its time on that, with two threads. Kept, blocks of up to 32 MB leave gaps in which tensors do
    not fit, as they want their addresses aligned: training that makes and frees as many as checkpointing does then
    holds several times what it uses. This is a setting of the whole process; the last one counts.
    """
    trim, large = _KEPT if keep else _GIVEN_BACK
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_M_TRIM_THRESHOLD, trim)
        library.mallopt(_M_MMAP_THRESHOLD, large)
    except (AttributeError, OSError, TypeError):
        return  # another C library, another way of keeping memory


def processor_features() -> str:
    """The instructions the processor knows, as Linux tells them."""
    return f"{platform.machine()} {_cpu_info('flags') or _cpu_info('Features')}"


def _processor() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(field: str) -> str:
    """A field of the first processor as Linux tells it; elsewhere nothing."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith(field):
                return line.partition(":")[2].strip()
    return ""
