# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Choose the device and the precision of the computation.
"""

import copy
import os
from dataclasses import dataclass

import torch

__all__ = ['Runtime', 'resolve_device', 'resolve_precision', 'survive_fork']

_process = os.getpid()

@dataclass(frozen=True)
class Runtime:
    """
    A device to compute on, and the precision of convolutions.

    Parameters
    ----------
    device : `torch.device`
        The device.

    dtype : `torch.dtype`, optional
        The precision.

    outermost : `torch.dtype`, optional
        That of the outermost level of a network for CCD frames; by default
        as the network is made for.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    outermost: torch.dtype | None = None

    @classmethod
    def resolve(cls, device=None, precision='auto'):
        """
        Choose device and precision.

        Parameters
        ----------
        device : str, `torch.device` or `None`, optional
            As for `resolve_device`.

        precision : str, optional
            As for `resolve_precision`.

        Returns
        -------
        runtime : `Runtime`
            Both.

        Examples
        --------
        >>> from astro_denoise.inference import Runtime
        >>> Runtime.resolve('cpu', 'float32').dtype
        torch.float32
        """
        device = resolve_device(device)
        dtype = resolve_precision(precision, device)
        return cls(device, dtype, _OUTERMOST.get(precision))

    @property
    def precision(self):
        """Options of a denoiser of CCD frames."""
        options = {'dtype': self.dtype}
        if self.outermost is not None:
            options['outermost'] = self.outermost
        return options

    def place(self, network):
        """
        Put a network on the device, laid out as convolutions are fastest.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network; stays where it is.

        Returns
        -------
        network : `torch.nn.Module`
            The network itself if it is there already, else a copy.
        """
        if next(network.parameters()).device == self.device:
            return network
        return copy.deepcopy(network).to(device=self.device,
                                         memory_format=torch.channels_last)

    def send(self, stack):
        """
        Put a tensor on the device; the processor does not wait for a GPU.
        """
        if self.device.type == 'cuda':
            return stack.pin_memory().to(self.device, non_blocking=True)
        return stack.to(self.device)


_PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16,
               'bfloat16-mixed': torch.bfloat16}
_OUTERMOST = {'bfloat16': torch.bfloat16, 'bfloat16-mixed': torch.float32}


def resolve_device(device=None):
    """
    The device to compute on.

    Parameters
    ----------
    device : str, `torch.device` or `None`, optional
        `None` and ``'auto'`` take a CUDA device where there is one,
        else the processor.

    Returns
    -------
    device : `torch.device`
        The device.

    Raises
    ------
    ValueError
        If there is no such device.

    Examples
    --------
    >>> from astro_denoise.inference import resolve_device
    >>> print(resolve_device('cpu'))
    cpu
    """
    if device is None or device == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, TypeError,
            NotImplementedError) as error:
        msg = (f'device {device!r} cannot be used here (without the option '
               f'a device is found): {str(error).splitlines()[0]}')
        raise ValueError(msg) from error
    if chosen.type == 'meta':
        msg = "device 'meta' cannot compute"
        raise ValueError(msg)
    return chosen


def survive_fork():
    """
    Compute with one thread in a process that was forked from this one.

    The threads of OpenMP do not come along in a fork, and the first
    result would be waited for without end. PyTorch's own workers do the
    same. Where nothing was forked, nothing changes.
    """
    global _process
    if _process != os.getpid():
        torch.set_num_threads(1)
        _process = os.getpid()


def _processor_has_bfloat16():
    """Tell if bfloat16 products are instructions of this processor."""
    # torch has no public name for these yet; without them, stay exact.
    names = ('_is_amx_tile_supported', '_is_avx512_bf16_supported')
    return any(getattr(torch.cpu, name, bool)() for name in names)


def resolve_precision(precision, device):
    """
    The precision of the network's convolutions.

    Parameters
    ----------
    precision : {'auto', 'float32', 'bfloat16', 'bfloat16-mixed'}
        ``'auto'`` takes bfloat16 where the hardware multiplies it:
        CUDA devices of compute capability 8 and above, processors with
        AMX or AVX512-BF16. Elsewhere bfloat16 is emulated, and slow.
        ``'bfloat16-mixed'`` leaves the outermost level of a network for CCD
        frames in float32; ``'auto'`` does so for those that it would
        disturb.

    device : `torch.device`
        Where to compute.

    Returns
    -------
    dtype : `torch.dtype`
        ``torch.float32`` or ``torch.bfloat16``.

    Raises
    ------
    ValueError
        If ``precision`` is none of the four.
    """
    if precision == 'auto':
        if device.type == 'cuda':
            fast = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            fast = device.type == 'cpu' and _processor_has_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    if not isinstance(precision, str) or precision not in _PRECISIONS:
        msg = (f"precision must be 'auto', 'float32', 'bfloat16' or "
               f"'bfloat16-mixed', got {precision!r}")
        raise ValueError(msg)
    return _PRECISIONS[precision]
