# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Where the time of a call goes: seconds in each of some functions.
"""

import functools
import inspect
import sys
import time
from contextlib import contextmanager

PACKAGE = 'astro_denoise'


class Stages:
    """
    Seconds by stage; those of a stage within another count once.

    Attributes
    ----------
    seconds : dict
        Of wall time, a number per stage.
    """

    def __init__(self):
        self.seconds = {}
        self._running = []

    @contextmanager
    def stage(self, name):
        """Count what is done within for a stage, not for the one around."""
        start = time.perf_counter()
        self._running.append(0.0)
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            within = self._running.pop()
            self.seconds[name] = (self.seconds.get(name, 0.0) + spent
                                  - within)
            if self._running:
                self._running[-1] += spent

    def _counted(self, function, name):
        @functools.wraps(function)
        def counted(*args, **kwargs):
            with self.stage(name):
                return function(*args, **kwargs)
        return counted

    @contextmanager
    def watching(self, functions):
        """
        Count the calls of some functions while this lasts.

        Parameters
        ----------
        functions : list of tuple
            Pairs of a stage and a function of the package, or of a stage,
            a class and the name of its method.
        """
        changed = []

        def change(owner, attribute, new):
            changed.append((owner, attribute, vars(owner)[attribute]))
            setattr(owner, attribute, new)

        for stage, function, *method in functions:
            if inspect.isclass(function):
                change(function, method[0],
                       self._counted(vars(function)[method[0]], stage))
                continue
            counted = self._counted(function, stage)
            for name, module in list(sys.modules.items()):
                if name.partition('.')[0] == PACKAGE:
                    for attribute, value in list(vars(module).items()):
                        if value is function:
                            change(module, attribute, counted)
        try:
            yield
        finally:
            for owner, attribute, old in reversed(changed):
                setattr(owner, attribute, old)


def profile_denoise(path, model, *, precision, repeats=3):
    """
    Profile a frame denoised from file to file.

    Parameters
    ----------
    path : path-like
        FITS file of the frame; the result is written beside it.

    model, precision : str
        As for `astro_denoise.denoise`.

    repeats : int, optional
        Calls, of which the fastest counts, after one to warm up.

    Returns
    -------
    seconds : dict
        A number per stage.
    """
    from astropy.nddata import CCDData

    from astro_denoise import denoise
    from astro_denoise.frames import FrameReader, FrameWriter
    from astro_denoise.inference import engine, rows
    from astro_denoise.inference.elementwise import CompiledPasses
    from astro_denoise.models.denoiser import CCDDenoiser
    from astro_denoise.noise import findings, levels, measurement

    functions = [
        ('read', FrameReader, 'read'), ('background', levels.Sky, '__init__'),
        ('background', levels.Sky, 'background'),
        ('noise map', measurement.noise_model),
        ('noise level', findings.measure_noise),
        ('seeing', findings.psf_width),
        ('structure', engine.keep_structure),
        ('rows', engine.denoise_windows), ('rows', rows.RowStream, 'push'),
        ('features', CCDDenoiser, 'features'),
        ('network', CCDDenoiser, 'encoded'),
        ('network', CCDDenoiser, 'joined'),
        ('network', CCDDenoiser, 'decoded'),
        ('restoring', CCDDenoiser, 'estimated'),
        ('restoring', CCDDenoiser, 'finished'),
        ('features', CompiledPasses, 'features'),
        ('network', CompiledPasses, 'joined'),
        ('restoring', CompiledPasses, 'estimated'),
        ('restoring', CompiledPasses, 'finished'),
        ('write', FrameWriter, 'write')]
    output = f'{path}.out.fits'

    def call(stages):
        with stages.stage('other'):
            with stages.stage('read'):
                frame = CCDData.read(path)
            with stages.watching(functions):
                result = denoise(frame, model, gain='GAIN',
                                 read_noise='RDNOISE', device='cpu',
                                 precision=precision)
            with stages.stage('write'):
                result.write(output, overwrite=True)

    return _fastest(call, repeats)


def profile_photometry(path, *, n_sources, seed, repeats=3):
    """
    Profile aperture photometry of a frame.

    Parameters
    ----------
    path : path-like
        FITS file of the frame.

    n_sources : int
        Apertures, at random places.

    seed : int
        Of the places.

    repeats : int, optional
        Calls, of which the fastest counts, after one to warm up.

    Returns
    -------
    seconds : dict
        A number per stage.
    """
    import numpy as np
    from astropy.nddata import CCDData
    from astropy.table import QTable

    from astro_denoise.photometry import annulus, apertures
    from astro_denoise.photometry.apertures import annulus_photometry

    functions = [('frame', apertures.open_plane),
                 ('catalog', apertures.aperture_table),
                 ('annulus pixels', annulus._annulus_block),
                 ('annulus clipping', annulus.clipped_statistics),
                 ('annulus statistics', annulus.annulus_statistics),
                 ('apertures', apertures.aperture_sums)]
    frame = CCDData.read(path)
    rng = np.random.default_rng(seed)
    ny, nx = frame.shape
    semi_axis = rng.uniform(3.0, 8.0, n_sources)
    catalog = QTable({
        'ref_id': np.arange(n_sources),
        'aperture_x': rng.uniform(0, nx, n_sources),
        'aperture_y': rng.uniform(0, ny, n_sources),
        'aperture_a': semi_axis,
        'aperture_b': semi_axis * rng.uniform(0.4, 1.0, n_sources),
        'aperture_theta': rng.uniform(0.0, 180.0, n_sources)})

    def call(stages):
        with stages.stage('table'), stages.watching(functions):
            annulus_photometry(frame, catalog)

    return _fastest(call, repeats)


def _fastest(call, repeats):
    """The stages of the fastest of some calls."""
    runs = []
    for _ in range(repeats + 1):
        stages = Stages()
        call(stages)
        runs.append(stages.seconds)
    return min(runs[1:], key=lambda seconds: sum(seconds.values()))
