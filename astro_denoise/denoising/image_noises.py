# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Name the noise on gamma-ray images.
"""

import numpy as np
from astropy.table import QTable

from ..frames.checks import check_no_energy_axis
from ..frames.inputs import open_frame
from ..frames.provenance import table_meta

__all__ = ['classify_noise']

# Probability from which on a kind of noise is named.
_NAMED = 0.5


def classify_noise(data, model='gc-mixed', *, mask=None, device=None):
    """
    Name the noise on gamma-ray images: none, one kind, or two.

    Parameters
    ----------
    data : array_like or `~astropy.nddata.NDData`
        An image, shape (ny, nx), or a stack of them, of any scale.

    model : str, path-like or `~astro_denoise.models.Model`, optional
        A model that tells kinds of noise.

    mask : `~numpy.ndarray`, optional
        Shape of ``data``, true (non-zero) on pixels that are not to be
        looked at.

    device : str or `torch.device`, optional
        Default: a CUDA device where there is one, else the processor.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row for each image: ``noise``, the kinds joined by ``+``
        (``'gaussian+masked'``) or ``'none'``, and the probability of each
        kind, ``p_gaussian``, ``p_poisson``, ``p_masked`` and
        ``p_saltpepper``.

    Raises
    ------
    TypeError, ValueError
        If ``model`` tells no kinds of noise, or an image has no valid
        pixels.

    Examples
    --------
    >>> from astro_denoise.denoising import classify_noise
    >>> from astro_denoise.simulation import (
    ...     GalacticCenterSimulator, add_masked_noise)
    >>> counts, _, _ = GalacticCenterSimulator('legacy').sample(1, seed=3)
    >>> noisy = add_masked_noise(counts[0] / counts.max(), 0.5, seed=1)
    >>> print(classify_noise(noisy)['noise'][0])
    masked
    """
    # torch is slow to import: not before it is needed.
    import torch
    from torch.nn import functional as F

    from ..inference.devices import Runtime
    from ..inference.shield import shielded
    from ..models.registry import load_model

    with shielded(), torch.inference_mode():
        model = load_model(model, task='denoise')
        if not hasattr(model.network, 'name_noises'):
            msg = (f"model must be one that tells kinds of noise, such as "
                   f"'gc-mixed', got {model.name!r}")
            raise ValueError(msg)
        runtime = Runtime.resolve(device)
        network = runtime.place(model.network)
        check_no_energy_axis(data, 'data')
        frame = open_frame(data, mask=mask).read()
        if not frame.valid.any((1, 2)).all():
            bad = int(np.flatnonzero(~frame.valid.any((1, 2)))[0])
            msg = f'data must have valid pixels, got none in image {bad}'
            raise ValueError(msg)
        margins = [-n % network.stride for n in frame.values.shape[:0:-1]]
        found = []
        for values, valid in zip(frame.values, frame.valid, strict=True):
            image, good = (F.pad(torch.from_numpy(plane.astype(
                np.float32))[None], (0, margins[0], 0, margins[1]))
                for plane in (np.where(valid, values, 0.0), valid))
            found.append(network.name_noises(
                image.to(runtime.device), good.to(runtime.device))[0].cpu())
        found = torch.stack(found).numpy()
    names = [name for name in network.noises if name != 'none']
    table = QTable({'noise': [
        '+'.join(name for name, share in zip(names, row, strict=True)
                 if share >= _NAMED) or 'none' for row in found]})
    for name, column in zip(names, found.T, strict=True):
        table[f'p_{name}'] = column
    table.meta.update(table_meta(), model=model.name, model_hash=model.hash)
    return table
