# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Estimate what an image of the Galactic Centre is made of.
"""

import warnings

import numpy as np
from astropy.nddata import NDData
from astropy.table import QTable
from tqdm import tqdm

from ..exceptions import UnusualImageWarning
from ..frames.checks import (
    check_counts,
    check_counts_unit,
    check_no_energy_axis,
    warn_of_optical,
)
from ..frames.inputs import plain_parts
from ..frames.results import unpack
from ..sky_maps.galactic_grid import SHAPE, celestial_wcs
from ..sky_maps.regrid import onto_grid

__all__ = ['PARAMETER_NAMES', 'estimate_parameters']

#: Names of the parameters, in the order of the samples.
PARAMETER_NAMES = ('a_dm', 'a_ic', 'a_pi0', 'a_bubbles', 'n_ps_gc',
                   'n_ps_disk', 'n_ps_total')

# Columns of each parameter, and the quantile that they are.
_QUANTILES = {'_q025': 0.025, '_q16': 0.16, '': 0.5, '_q84': 0.84,
              '_q975': 0.975}
_SUFFIXES = ('', '_mean', '_std', '_q025', '_q16', '_q84', '_q975')

# Numbers that are drawn at once, which bounds the memory.
_SAMPLES_AT_ONCE = 2**18

def estimate_parameters(image, model='galactic-center', *, n_samples=2000,
                        return_samples=False, device=None, seed=None,
                        progress_bar=False):
    """
    Estimate the parameters behind gamma-ray images of the Galactic Centre.

    The parameters are those of
    `~astro_denoise.simulation.GalacticCenterSimulator`, on whose images
    the models are trained: the result is right for images as it draws
    them. ``ood_flag`` and a warning tell those that look different.

    Parameters
    ----------
    image : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, \
            `~astropy.units.Quantity` or `~numpy.ndarray`
        Counts, shape (64, 64), or (n, 64, 64) for several images. With a
        celestial WCS, the image may have any other shape and grid that
        covers the whole field of the model, 30 x 30 degrees around the
        Galactic Centre: it is brought onto the model's grid, counts
        conserved. Without one it must be on that grid, with Galactic
        longitude and latitude growing along x and y.

    model : str, path-like or `~astro_denoise.models.Model`, optional
        ``'galactic-center'`` gives the joint posterior of the
        parameters. The files of the document's networks (recipes
        ``cnn-dm``, ``cnn-dm-total``, ``cnn-dm-disk-gc``) give point
        values.

    n_samples : int, optional
        Samples of the posterior for each image.

    return_samples : bool, optional
        Return the samples too.

    device : str or `torch.device`, optional
        Default: a CUDA device where there is one, else the processor.

    seed : int, optional
        Same seed, same samples.

    progress_bar : bool, optional
        Show a progress bar.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row for each image. For each of ``PARAMETER_NAMES``, ``a_dm`` for
        instance: ``a_dm``, the median of the posterior, ``a_dm_mean``,
        ``a_dm_std``, and the quantiles ``a_dm_q025``, ``a_dm_q16``,
        ``a_dm_q84`` and ``a_dm_q975``. ``ood_score`` tells how unlike
        the training set the image is, and ``ood_flag`` whether that is
        more than chance. Of the document's networks: one column for
        each parameter that they know.

    samples : 3D `~numpy.ndarray`
        Only with ``return_samples=True``: shape (n, n_samples, 7), in the
        order of ``PARAMETER_NAMES``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it should be, the message names it:
        counts that are negative, not finite, masked or all zero; another
        shape without WCS; a WCS that does not cover the field.

    Warns
    -----
    CountsWarning
        If counts are not integers.

    UnusualImageWarning
        If an image is unlike those that the model was trained on.

    See Also
    --------
    astro_denoise.sky_maps.healpix_to_image : For maps in HEALPix pixels.

    Examples
    --------
    >>> from astro_denoise import estimate_parameters
    >>> from astro_denoise.simulation import GalacticCenterSimulator
    >>> images, truth, _ = GalacticCenterSimulator().sample(3, seed=1)
    >>> table = estimate_parameters(images, seed=1)
    >>> print(len(table), table.colnames[:3])
    3 ['a_dm', 'a_dm_mean', 'a_dm_std']
    >>> bool((table['a_dm_q025'] < table['a_dm_q975']).all())
    True
    """
    # torch is slow to import: not before it is needed.
    import torch

    from ..inference.devices import Runtime
    from ..models.registry import load_model

    model = load_model(model, task='estimate')
    is_point = hasattr(model.network, 'point_values')
    _check_sampling(n_samples, return_samples, model, is_point)
    runtime = Runtime.resolve(device)
    counts = torch.from_numpy(_on_model_grid(image, model)).to(runtime.device)
    network = runtime.place(model.network)
    if is_point:
        table = _point_table(network, counts)
        table.meta.update(_meta(model))
        return table

    rng = torch.Generator(runtime.device)
    if seed is None:
        seed = int(np.random.SeedSequence().entropy % 2**62)
    rng.manual_seed(seed)
    columns, kept = [], []
    batch = max(1, min(256, _SAMPLES_AT_ONCE // n_samples))
    with tqdm(total=len(counts), disable=not progress_bar, desc='estimate',
              unit='image') as bar, torch.inference_mode():
        for part in counts.split(batch):
            samples = network.sample(part, n_samples, rng)
            # All point sources are those of the centre and of the disk.
            samples = torch.cat([samples, samples[..., 4:].sum(
                -1, keepdim=True)], -1).cpu().numpy()
            columns.append([*_summary(samples),
                            network.ood_score(part).cpu().numpy()])
            if return_samples:
                kept.append(samples)
            bar.update(len(part))
    *summary, score = (np.concatenate(pieces, -1)
                       for pieces in zip(*columns, strict=True))
    table = QTable()
    for number, name in enumerate(PARAMETER_NAMES):
        for suffix, values in zip(_SUFFIXES, summary, strict=True):
            table[name + suffix] = values[number]
    table['ood_score'] = score
    table['ood_flag'] = score > network.ood_threshold
    table.meta.update(_meta(model), seed=seed, n_samples=n_samples,
                      ood_threshold=float(network.ood_threshold))
    _warn_of_unusual(table)
    return (table, np.concatenate(kept)) if return_samples else table


def _check_sampling(n_samples, return_samples, model, is_point):
    if isinstance(n_samples, bool) or not isinstance(n_samples,
                                                     int | np.integer):
        msg = f'n_samples must be an integer, got {n_samples!r}'
        raise TypeError(msg)
    if n_samples < 1:
        msg = f'n_samples must be at least 1, got {n_samples}'
        raise ValueError(msg)
    if return_samples and is_point:
        msg = (f'return_samples=True needs a model with samples, got '
               f'{model.name!r}, which gives point values')
        raise ValueError(msg)


def _on_model_grid(image, model):
    """
    Checked counts on the grid of the models, shape (n, 64, 64), float32.
    """
    check_no_energy_axis(image, 'image')
    frame = unpack(image)
    check_counts_unit(frame.unit)
    if not frame.valid.all():
        bad = tuple(int(i) for i in np.argwhere(~frame.valid)[0])
        masked = np.isfinite(plain_parts(image)[0].reshape(
            frame.values.shape)[bad])
        msg = (f'image must be known in all pixels, got '
               f'{"a mask" if masked else "a number that is not finite"} at '
               f'pixel {bad[-2:]} of image {bad[0]}')
        raise ValueError(msg)
    check_counts(frame.values, frame.valid, 'image', stacklevel=4)
    wcs = celestial_wcs(image)
    if wcs is not None:
        warn_of_optical(frame, 'image', model.name, stacklevel=4)
        values = [onto_grid(plane, wcs, 'image') for plane in frame.values]
        return np.stack(values).astype(np.float32)
    if frame.values.shape[1:] != SHAPE:
        known = '' if not isinstance(image, NDData) or image.wcs is None else (
            ' (its WCS is not celestial)')
        msg = (f'image must have shape {SHAPE} or (n, {SHAPE[0]}, '
               f'{SHAPE[1]}), or a celestial WCS, got the shape '
               f'{plain_parts(image)[0].shape}{known}')
        raise ValueError(msg)
    warn_of_optical(frame, 'image', model.name, stacklevel=4)
    return frame.values.astype(np.float32)


def _summary(samples):
    """Columns of a batch in the order of ``_SUFFIXES``, shape (7, n) each."""
    levels = np.quantile(samples, list(_QUANTILES.values()), axis=1)
    columns = dict(zip(_QUANTILES, levels, strict=True))
    columns['_mean'] = samples.mean(1, dtype=float)
    columns['_std'] = samples.std(1, dtype=float)
    return [columns[suffix].T for suffix in _SUFFIXES]


def _point_table(network, counts):
    values = network.point_values(counts).cpu().numpy()
    return QTable({name: values[:, number]
                   for number, name in enumerate(network.outputs)})


def _meta(model):
    from ..photometry.tables import table_meta

    return {**table_meta(), 'model': model.name, 'model_hash': model.hash}


def _warn_of_unusual(table):
    flagged = np.flatnonzero(table['ood_flag'])
    if len(flagged):
        worst = flagged[np.argmax(table['ood_score'][flagged])]
        msg = (f'{len(flagged)} of {len(table)} images are unlike those that '
               f'the model was trained on, and their posteriors may be far '
               f'off: the largest ood_score is '
               f'{table["ood_score"][worst]:.3g} (image {worst}), above '
               f'{table.meta["ood_threshold"]:.3g}')
        warnings.warn(msg, UnusualImageWarning, stacklevel=3)
