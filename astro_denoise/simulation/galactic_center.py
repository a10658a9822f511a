# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Simulated gamma-ray images of the Galactic Center.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import astropy.units as u
import numpy as np
from astropy.table import QTable

from ..sky_maps.galactic_grid import grid_wcs
from .exact_sky import ExactSky
from .legacy_sky import HALF_WIDTH, PIXEL_SCALE, LegacySky
from .nuisances import SkyNuisances, SkySettings
from .random_numbers import RandomNumbers
from .realistic_sky import RealisticSky

__all__ = ['GalacticCenterSimulator']

# Images drawn at once: small enough for the caches of a processor.
_CHUNK = 128

_NAMES = ('a_dm', 'a_ic', 'a_pi0', 'a_bubbles', 'n_ps_gc', 'n_ps_disk')
_LOWER = (0.0, 0.0, 0.0, 0.0, 200.0, 1000.0)
_UPPER = (1.0, 1.0, 1.0, 1.0, 800.0, 4000.0)

# What the original smoothing kernel sums to, which it should not: the
# exposure with which a normalized kernel gives the same images.
_LEGACY_GAIN = 2.047


class GalacticCenterSimulator:
    """
    Draw images of the Galactic Center, with everything they are made of.

    An image has 64x64 pixels of 0.46875 degrees, Galactic longitude
    along x and latitude along y, and holds counts: inverse Compton
    emission, gas (neutral pion decay), the Fermi bubbles, dark matter,
    and point sources of two populations, smoothed by the point-spread
    function, with Poisson noise.

    Parameters
    ----------
    tier : {'fixed', 'legacy', 'realistic'}, optional
        ``'legacy'`` is the simulator of the student project, the gain
        of 2.047 of its smoothing kernel included, and sources moved to
        the middle of their pixels. ``'fixed'`` has a normalized kernel,
        evaluated at the true position of each source, and an exposure
        instead of the gain: the same levels and fluctuations.
        ``'realistic'`` has a generalized NFW profile integrated along
        the line of sight, source counts of a doubly broken power law,
        and the point-spread function of Fermi-LAT at 2 GeV.

    rotation : bool, optional
        Rotate each sky by an angle drawn at random. Point sources stay
        within the image.

    exposure : float or tuple of float, optional
        Factor on the expected counts, or a range in which it is drawn,
        uniformly in its logarithm; relative to the document's images.

    gamma : float, optional
        For the realistic tier: inner slope of the dark matter, 0.5 to
        1.5; 1.2 by default.

    nuisances : bool, optional
        Draw what the formulas fix and nobody knows of real skies: the
        width and the wings of the point-spread function, the scale
        heights of inverse Compton emission and gas, the mean flux of
        sources and the slope of their counts, the normalization of the
        templates; and add what the formulas leave out: an isotropic
        level, thin layers along the Galactic plane, and ripples on the
        diffuse emission. All are different in each image. Not for the
        legacy tier.

    device : str or `torch.device`, optional
        Where to draw.

    See Also
    --------
    SurveySimulator : Frames of an optical survey.

    Notes
    -----
    The formulas of the first two tiers are those of a public simulator
    by A. Coogan, which the student project used.

    Examples
    --------
    >>> from astro_denoise.simulation import GalacticCenterSimulator
    >>> simulator = GalacticCenterSimulator()
    >>> images, parameters, sources = simulator.sample(2, seed=1)
    >>> print(images.shape, sorted(sources))
    (2, 64, 64) ['disk', 'gc']
    >>> print(parameters.colnames[:4])
    ['a_dm', 'a_ic', 'a_pi0', 'a_bubbles']
    """

    #: Names of the parameters, in the order of every array of them.
    parameter_names = _NAMES

    def __init__(self, tier='fixed', *, rotation=False, exposure=1.0,
                 gamma=None, nuisances=False, device='cpu'):
        if tier not in ('fixed', 'legacy', 'realistic'):
            msg = (f"tier must be 'fixed', 'legacy' or 'realistic', "
                   f'got {tier!r}')
            raise ValueError(msg)
        if gamma is not None and tier != 'realistic':
            msg = f'gamma is for the realistic tier, got {gamma!r}'
            raise ValueError(msg)
        if nuisances and tier == 'legacy':
            msg = "nuisances must be False for the tier 'legacy', got True"
            raise ValueError(msg)
        self.tier = tier
        self.rotation = bool(rotation)
        self.exposure = self._exposure_range(exposure)
        self.nuisances = bool(nuisances)
        self.device = device
        if tier == 'realistic':
            self._sky = RealisticSky(
                gamma=1.2 if gamma is None else gamma, device=device)
        else:
            sky = LegacySky if tier == 'legacy' else ExactSky
            self._sky = sky(device=device)
        self._nuisances = (SkyNuisances(*self._sky.coordinates)
                           if nuisances else None)

    def __repr__(self):
        return (f'{type(self).__name__}(tier={self.tier!r}, '
                f'rotation={self.rotation}, exposure={self.exposure}, '
                f'nuisances={self.nuisances})')

    @staticmethod
    def _exposure_range(exposure):
        try:
            low, high = ((float(exposure),) * 2 if np.isscalar(exposure)
                         else map(float, exposure))
        except (TypeError, ValueError):
            low, high = math.nan, math.nan
        if not 0 < low <= high < math.inf:
            msg = (f'exposure must be positive, or a range (low, high) of '
                   f'positive numbers, got {exposure!r}')
            raise ValueError(msg)
        return low, high

    @property
    def bounds(self):
        """
        Lower and upper ends of the uniform priors.

        The numbers of sources are integers below their upper end.
        """
        return np.array(_LOWER), np.array(_UPPER)

    @property
    def gain(self):
        """Expected counts of a source per unit of its flux, at exposure 1."""
        return _LEGACY_GAIN

    @property
    def wcs(self):
        """Galactic coordinates of the images."""
        return grid_wcs()

    def sample(self, n, *, seed=None, parameters=None, components=False):
        """
        Draw images.

        Parameters
        ----------
        n : int
            Number of images.

        seed : int, optional
            Same seed, same images.

        parameters : mapping or `~astropy.table.Table`, optional
            Parameters to use, each a number or an array of ``n``; those
            that are missing are drawn from their priors.

        components : bool, optional
            Also return what the expected counts are made of.

        Returns
        -------
        images : 3D `~numpy.ndarray`
            Counts, shape (n, 64, 64), float32.

        parameters : `~astropy.table.QTable`
            A row for each image: ``a_dm``, ``a_ic``, ``a_pi0``,
            ``a_bubbles``, ``n_ps_gc``, ``n_ps_disk``, ``n_ps_total``,
            ``angle`` of the rotation, and ``exposure``.

        sources : dict of 3D `~numpy.ndarray`
            For ``'gc'`` and ``'disk'``: the counts expected of the
            point sources in each pixel, before they are smoothed and
            before the exposure.

        components : dict of 3D `~numpy.ndarray`
            Only with ``components=True``: the counts expected of each
            component, ``'dm'``, ``'ic'``, ``'pi0'``, ``'bubbles'``,
            ``'gc'`` and ``'disk'``, and ``'extra'`` with nuisances,
            smoothed, with the exposure, without noise. Their sum is the
            expected image.

        Raises
        ------
        TypeError, ValueError
            If ``n`` is not a positive integer, ``seed`` no integer or
            negative, or a parameter is unknown, negative or of another length.
        """
        import torch

        if isinstance(n, bool) or not isinstance(n, int | np.integer):
            msg = f'n must be an integer, got {n!r}'
            raise TypeError(msg)
        if n < 1:
            msg = f'n must be at least 1, got {n}'
            raise ValueError(msg)
        given = self._given(parameters, n)
        if seed is not None and (isinstance(seed, bool) or not isinstance(
                seed, int | np.integer) or seed < 0):
            msg = f'seed must be an integer, not negative, got {seed!r}'
            raise ValueError(msg)
        if seed is None:
            seed = int(np.random.SeedSequence().entropy % 2**62)

        def chunk(number):
            start, stop = number * _CHUNK, min((number + 1) * _CHUNK, n)
            drawn = self.draw(stop - start, [seed, number],
                              components=components,
                              **{name: column[start:stop]
                                 for name, column in given.items()})
            return {name: plane.cpu() for name, plane in drawn.items()
                    if name not in ('expected', 'offsets', 'nuisances')}

        # Much of the drawing has no threads of its own in torch.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            parts = list(pool.map(chunk, range(-(-n // _CHUNK))))
        drawn = {name: torch.cat([part[name] for part in parts]).numpy()
                 for name in parts[0]}

        table = self._table(drawn)
        table.meta['seed'] = seed
        sources = {'gc': drawn['sources'][:, 0],
                   'disk': drawn['sources'][:, 1]}
        if not components:
            return drawn['images'], table, sources
        extra = ('extra',) * self.nuisances
        names = ('dm', 'ic', 'pi0', 'bubbles', *extra, 'gc', 'disk')
        return drawn['images'], table, sources, {
            name: drawn['components'][:, index]
            for index, name in enumerate(names)}

    def _table(self, drawn):
        """Make the table of the parameters of images."""
        table = QTable()
        for index, name in enumerate(_NAMES):
            column = drawn['parameters'][:, index]
            if name.startswith('n_'):
                column = np.rint(column).astype(int)
            table[name] = column
        table['n_ps_total'] = table['n_ps_gc'] + table['n_ps_disk']
        table['angle'] = drawn['angle'] * u.deg
        table['exposure'] = drawn['exposure']
        table.meta['tier'] = self.tier
        return table

    @staticmethod
    def _given(parameters, n):
        """Make arrays of the parameters that the caller chose."""
        if parameters is None:
            return {}
        columns = getattr(parameters, 'colnames', parameters)
        given = {}
        for name in columns:
            if name in ('n_ps_total', 'angle', 'exposure'):
                continue  # what a table of parameters holds besides
            if name not in _NAMES:
                msg = (f'parameters must be among {", ".join(_NAMES)}, '
                       f'got {name!r}')
                raise ValueError(msg)
            column = np.asarray(parameters[name], float)
            if column.ndim == 0:
                column = np.full(n, column)
            if column.shape != (n,) or not (np.isfinite(column)
                                            & (column >= 0)).all():
                msg = (f'parameters[{name!r}] must be {n} numbers, not '
                       f'negative, got {parameters[name]!r}')
                raise ValueError(msg)
            given[name] = column
        return given

    def expected_light(self, x, y, flux):
        """
        Compute the counts expected of point sources at exposure 1.

        Parameters
        ----------
        x, y : 1D array-like
            Galactic longitude and latitude of the sources in degrees.

        flux : 1D array-like
            Counts of each source in all pixels.

        Returns
        -------
        light : 2D `~numpy.ndarray`
            Counts in each pixel, shape (64, 64); in the legacy tier of
            sources in the middle of their pixels.

        Examples
        --------
        >>> from astro_denoise.simulation import GalacticCenterSimulator
        >>> simulator = GalacticCenterSimulator()
        >>> light = simulator.expected_light([0.1], [3.2], [1000.0])
        >>> print(f'{light.sum():.0f}')
        1000
        """
        import torch

        x, y, flux = (torch.as_tensor(np.atleast_1d(column),
                                      dtype=torch.float32,
                                      device=self.device)
                      for column in (x, y, flux))
        places = (torch.stack([x, y]) + HALF_WIDTH) / PIXEL_SCALE
        if isinstance(self._sky, ExactSky):
            light = self._sky.psf().light(places, flux, [len(flux)])
        else:
            inside = ((places >= 0) & (places < 64)).all(0)
            plane = torch.zeros(64, 64, dtype=torch.float32,
                                device=self.device)
            column, row = places[:, inside].long()
            plane.index_put_((row, column), flux[inside], accumulate=True)
            light = self._sky.blur(plane[None, None])[0]
        return light[0].cpu().numpy()

    def draw(self, n, seed, *, components=False, nuisances=None,
             exposure=None, centered=False, bright=None, **given):
        """
        Draw images as tensors, for training.

        Parameters
        ----------
        n : int
            Number of images.

        seed : int or sequence of int
            Same seed, same images.

        components : bool, optional
            Draw the component images too.

        nuisances : `torch.Tensor`, optional
            Shape (n, 6): shares of ``NUISANCE_NAMES`` that are not to be
            drawn.

        exposure : `torch.Tensor`, optional
            Shape (n,): exposures that are not to be drawn.

        centered : bool, optional
            With nuisances: put all sources in the middle of their pixels,
            which is quicker and has the same spectrum of fluctuations.

        bright : tuple of float, optional
            ``(number, low, high)``: add sources to each image, anywhere in
            it and up to this number, with fluxes from ``low`` to ``high``
            counts at exposure 1, uniformly in their logarithm. They are in
            the planes of the disk's sources, not in the ``parameters``, and
            come with ``'profile'``. Not for the legacy tier.

        **given : 1D `~numpy.ndarray`
            Parameters that are not to be drawn.

        Returns
        -------
        drawn : dict of `torch.Tensor`
            On the simulator's device: ``images`` (n, 64, 64),
            ``parameters`` (n, 6), ``sources`` (n, 2, 64, 64), ``angle``
            (n,) in degrees, ``exposure`` (n,), ``expected`` (n, 64, 64)
            counts without noise, ``offsets`` (n, 2, 64, 64) in x and y of
            the middle of the sources' light from that of the pixel, in
            pixels, and if wanted ``components`` (n, 6, 64, 64), with
            nuisances seven of them; with nuisances also their shares,
            ``nuisances`` (n, 6); with bright sources ``profile`` (n, 11,
            11), the light of a source in the middle of the central pixel.
        """
        import torch

        if bright is not None and self.tier == 'legacy':
            msg = f"bright must be None for the tier 'legacy', got {bright!r}"
            raise ValueError(msg)
        random = RandomNumbers.seeded(seed, device=self.device)
        lower = torch.tensor(_LOWER, dtype=torch.float32, device=self.device)
        upper = torch.tensor(_UPPER, dtype=torch.float32, device=self.device)
        parameters = lower + (upper - lower) * random.uniform(n, 6)
        for name, column in given.items():
            parameters[:, _NAMES.index(name)] = torch.as_tensor(
                column, dtype=torch.float32, device=self.device)
        parameters[:, 4:] = parameters[:, 4:].floor()
        angle = torch.zeros(n, dtype=torch.float32, device=self.device)
        if self.rotation:
            angle = 2.0 * math.pi * random.uniform(n)
        low, high = np.log(self.exposure)
        share = random.uniform(n)
        if exposure is None:
            exposure = torch.exp(low + (high - low) * share)
        settings = None
        if self.nuisances:
            settings = SkySettings.drawn(n, random, nuisances)
            settings.centered |= centered

        smooth, flux, moments, light = self._sky.draw(
            parameters, angle, random, settings)
        profile = {}
        if bright is not None:
            psf = self._sky.psf(settings)
            self._add_bright(bright, random, psf, flux, moments, light)
            profile = {'profile': psf.light(
                torch.full((2, n), 32.5, device=self.device),
                torch.ones(n, device=self.device),
                [1] * n)[:, 27:38, 27:38]}
        gain = exposure[:, None, None, None] * self.gain
        drawn = {'parameters': parameters, 'sources': flux,
                 'offsets': moments / flux.sum(1, keepdim=True).clamp_min(
                     1e-6),
                 'angle': torch.rad2deg(angle), 'exposure': exposure,
                 **profile}
        blur = self._sky.blur
        if self.nuisances:
            drawn['nuisances'] = settings.shares
            extra, factor = self._nuisances.draw(settings, angle, random)
            smooth[:, 1:4] *= settings.normalization[:, :, None, None]
            smooth[:, 1:3] *= factor
            smooth = torch.cat([smooth, extra / self.gain], 1)
            blur = self._sky.psf(settings).blur
        if components:
            drawn['components'] = torch.cat([blur(smooth), light], 1) * gain
            expected = drawn['components'].sum(1)
        else:
            expected = blur(smooth.sum(1, keepdim=True))
            expected = ((expected[:, 0] + light.sum(1)) * gain[:, 0])
        drawn['expected'] = expected
        drawn['images'] = random.poisson(expected)
        return drawn

    def _add_bright(self, bright, random, psf, flux, moments, light):
        """Add bright sources to the planes of the disk's, in place."""
        import torch

        number, low, high = bright
        n = len(flux)
        numbers = (random.uniform(n) * (number + 1)).long()
        owner = torch.arange(n, device=self.device).repeat_interleave(numbers)
        places = 64 * random.uniform(2, len(owner))
        added = low * (high / low)**random.uniform(len(owner)) / self.gain
        light[:, 1] += psf.light(places, added, numbers.tolist())
        x, y = places.long().clamp_max_(63)
        flux.index_put_((owner, torch.ones_like(owner), y, x), added,
                        accumulate=True)
        for axis, pixel in enumerate((x, y)):
            moments.index_put_(
                (owner, torch.full_like(owner, axis), y, x),
                added * (places[axis] - pixel - 0.5), accumulate=True)
