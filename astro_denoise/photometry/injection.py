# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Injection and recovery: what a denoiser does to the flux of a source.
"""

from dataclasses import replace

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import QTable
from scipy.interpolate import CubicSpline
from scipy.spatial import KDTree

from ..frames.provenance import table_meta
from .annulus import SIGMA_CLIP, check_annulus, pixel_noise
from .apertures import ApertureFlag, aperture_sums, measure
from .calibration import bootstrap_error, sigma68
from .plane import open_plane, with_unit
from .profile import MoffatProfiles, aperture_share, open_profile
from .tables import aperture_table

__all__ = ['measure_response']

INJECTED_REACH = 8.0  # of the Moffat profiles, in core radii
N_LEVELS = 10  # of brightness, each at every place
MIN_PLACES = 10
MAX_SETS = 100  # of places
N_RESAMPLES = 100
SPOILED = (ApertureFlag.EDGE | ApertureFlag.OFF_FRAME | ApertureFlag.MASKED
           | ApertureFlag.SATURATED | ApertureFlag.NON_FINITE)


class ResponseCurve:
    """
    Recovered flux as a smooth function of the true one.

    All fluxes are in units of the noise of the raw aperture flux.

    Parameters
    ----------
    true, recovered : 2D `~numpy.ndarray`
        Change of the raw and of the denoised flux by the injected source,
        a row per place and a column per level of brightness.
    """

    def __init__(self, true, recovered):
        true, recovered = np.mean(true, axis=0), np.mean(recovered, axis=0)
        log_true = np.log(true)
        self.low, self.high = log_true[0], log_true[-1]
        self.ratio = CubicSpline(log_true, recovered / true)
        self.slope = self.ratio.derivative()

    def recovered(self, true):
        """
        The recovered flux; beyond the injected ones in proportion.
        """
        clipped = np.clip(np.log(np.maximum(true, 1e-9)), self.low,
                          self.high)
        return true * self.ratio(clipped)

    def response(self, true):
        """
        The derivative of the recovered flux.
        """
        log_true = np.log(np.maximum(true, 1e-9))
        clipped = np.clip(log_true, self.low, self.high)
        inside = (log_true >= self.low) & (log_true <= self.high)
        return self.ratio(clipped) + np.where(inside, self.slope(clipped), 0)

    def invert(self, recovered):
        """
        The flux for which a flux is recovered, negative ones included.
        """
        grid = np.exp(np.linspace(self.low, self.high, 500))
        values = np.maximum.accumulate(self.recovered(grid))
        result = np.interp(recovered, values, grid)
        below, above = recovered < values[0], recovered > values[-1]
        result = np.where(below, recovered * grid[0] / values[0], result)
        return np.where(above, recovered * grid[-1] / values[-1], result)


def measure_response(ccd, denoiser, catalog, *, profile='fit',
                     n_injections=5000, snr_range=(0.5, 50.0), r_in=30,
                     r_out=45, sigma_clip=SIGMA_CLIP, error=None,
                     gain=None, mask=None, wcs=None, theta_sign=1,
                     separation=None, seed=None, progress_bar=False):
    r"""
    Response of a denoiser to injected sources, and corrected fluxes.

    Sources with the profiles of the catalog are added to blank places of
    the frame and the frame is denoised with and without them. As both have
    the same noise, the change of the denoised flux over that of the raw
    flux is known precisely, however faint the source. This gives the
    recovered flux g(F) as a function of the flux, its slope, the response
    :math:`R = {\rm d}g/{\rm d}F`, and the offset :math:`b = g - R F`. The
    denoised fluxes of the catalog are corrected to :math:`(f - b)/R`
    where R and b belong to the corrected flux.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The raw frame.

    denoiser : callable
        Takes a `~astropy.nddata.CCDData` and returns a denoised one of the
        same shape, such as ``astro_denoise.denoise``.

    catalog : table, photutils aperture or list of apertures
        The sources, as in `~astro_denoise.photometry.annulus_photometry`.

    profile : 'fit', 3D array or `~astropy.modeling.Model`, optional
        The profiles to inject, as in
        `~astro_denoise.photometry.profile_photometry`.

    n_injections : int, optional
        Number of sources to inject: every place gets ten levels of
        brightness, one after the other, so the frame is denoised at least
        eleven times, and again ten times for each new set of places that
        a small frame takes, 100 sets at most.

    snr_range : tuple of float, optional
        Faintest and brightest signal-to-noise ratio of an aperture flux;
        the levels are equally spaced in its logarithm.

    r_in, r_out, sigma_clip, error, gain, mask, wcs, theta_sign : optional
        As in `~astro_denoise.photometry.annulus_photometry`. With ``gain``
        the injected sources have photon noise.

    separation : float, optional
        Distance of injected sources in pixels, at least; half of it to the
        sources of the catalog. By default 8 times the median semi-major
        axis, at least 32.

    seed : int, optional
        The seed of positions, fluxes and photon noise.

    progress_bar : bool, optional
        Whether to show the passes.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per source: ``ref_id``, ``flux`` (corrected), ``flux_error``
        (the scatter of the corrected fluxes of injected sources),
        ``denoised_flux``, ``raw_flux``, ``snr`` (of the corrected flux
        over the noise of the raw one), ``response``, ``response_error``,
        ``offset`` and ``flag``. ``meta['response']`` has lists ``snr``,
        ``response``, ``response_error``, ``flux_ratio``, ``offset`` (in
        units of the raw noise) and ``scatter`` (of the corrected flux, the
        same unit) over the range of signal-to-noise ratios.

    Raises
    ------
    ValueError
        If there is room for fewer than 10 injected sources, the denoiser
        changes the shape, or an argument makes no sense.

    TypeError
        If ``ccd`` or what the denoiser returns is no CCDData.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import measure_response
    >>> rng = np.random.default_rng(1)
    >>> ccd = CCDData(rng.normal(100, 5, (300, 300)), unit='adu')
    >>> catalog = QTable({'ref_id': [7], 'aperture_x': [150.0],
    ...                   'aperture_y': [150.0], 'aperture_a': [3.0],
    ...                   'aperture_b': [2.0], 'aperture_theta': [30.0]})
    >>> def shrink(ccd):
    ...     return CCDData(50 + 0.5 * ccd.data, unit=ccd.unit)
    >>> table = measure_response(ccd, shrink, catalog, n_injections=100,
    ...                          seed=1)
    >>> print(f'{table["response"][0]:.2f}')
    0.50
    """
    check_annulus(r_in, r_out, sigma_clip)
    if not isinstance(ccd, CCDData):
        msg = f'ccd must be a CCDData, got {type(ccd).__name__}'
        raise TypeError(msg)
    low, high = snr_range
    if not 0 < low < high < np.inf:
        msg = f'snr_range must be 0 < low < high, got {snr_range!r}'
        raise ValueError(msg)
    if n_injections < MIN_PLACES * N_LEVELS:
        msg = (f'n_injections must be at least {MIN_PLACES * N_LEVELS}, got '
               f'{n_injections!r}')
        raise ValueError(msg)
    plane = open_plane(ccd, error=error, gain=gain, mask=mask, wcs=wcs)
    apertures = aperture_table(catalog, wcs=plane.wcs, theta_sign=theta_sign)
    annulus = (r_in, r_out, sigma_clip)
    gain = plane.gain
    plane.gain = None  # the noise without that of the source
    raw = measure(plane, apertures, *annulus)
    profiles = open_profile(
        profile, plane, apertures, _bare(raw['annulus_mean']),
        pixel_noise(_bare(raw['annulus_sigma']), *annulus),
        _bare(raw['flux']) / _bare(raw['flux_error']))
    if isinstance(profiles, MoffatProfiles):
        profiles.reach = INJECTED_REACH

    base = _with_mask(ccd, mask)
    denoised = _denoise(denoiser, base)
    rng = np.random.default_rng(seed)
    if separation is None:
        separation = max(32.0, 8 * np.median(np.maximum(apertures['a'],
                                                        apertures['b'])))
    injector = _Injector(plane, base, denoised, gain, profiles, apertures,
                         annulus, separation, rng)
    samples = injector.run(denoiser, -(-n_injections // N_LEVELS),
                           np.geomspace(low, high, N_LEVELS), progress_bar)
    return _corrected(samples, plane, raw, measure(denoised, apertures,
                                                   *annulus))


def _bare(column):
    return np.asarray(getattr(column, 'value', column))


def _with_mask(ccd, mask):
    """
    A copy of a frame in floating-point numbers, another mask added.
    """
    result = ccd.copy()
    result.data = np.asarray(ccd.data, dtype=float)
    if mask is not None:
        mask = np.asarray(mask) != 0
        result.mask = mask if ccd.mask is None else mask | (ccd.mask != 0)
    return result


def _with_light(ccd, added, photons):
    """
    A copy of a frame with more light, and its variance if that is known.
    """
    result = ccd.copy()
    result.data = ccd.data + added
    if photons is not None and ccd.uncertainty is not None:
        sigma = ccd.uncertainty.represent_as(StdDevUncertainty)
        result.uncertainty = StdDevUncertainty(
            np.sqrt(sigma.array**2 + photons))
    return result


def _denoise(denoiser, ccd):
    """
    The denoised frame, opened.
    """
    result = denoiser(ccd)
    if not isinstance(result, CCDData):
        msg = (f'denoiser must return a CCDData, got '
               f'{type(result).__name__}')
        raise TypeError(msg)
    if result.shape != ccd.shape:
        msg = (f'denoiser must keep the shape {ccd.shape}, got '
               f'{result.shape}')
        raise ValueError(msg)
    return replace(open_plane(result, mask=ccd.mask), sigma=None)


class _Injector:
    """
    Adds sources to blank places of a frame and measures them.
    """

    def __init__(self, plane, base, denoised, gain, profiles, apertures,
                 annulus, separation, rng):
        self.plane = plane
        self.base = base
        self.denoised = denoised
        self.gain = gain
        self.profiles = profiles
        self.apertures = apertures
        self.annulus = annulus
        self.separation = separation
        self.rng = rng
        positions = np.stack([apertures['x'], apertures['y']], axis=1)
        finite = np.all(np.isfinite(positions), axis=1)
        self.usable = np.flatnonzero(finite)
        if len(self.usable) == 0:
            msg = 'catalog must have a source with a position on the frame'
            raise ValueError(msg)
        self.tree = KDTree(positions[finite])

    def run(self, denoiser, n_places, levels, progress_bar):
        """
        Inject at sets of places until there are enough.

        Returns
        -------
        samples : dict of `~numpy.ndarray`
            ``true`` and ``recovered``: changes of raw and denoised flux,
            shape (n_places, n_levels); ``blank``: the denoised flux
            without source, shape (n_places,). In units of the noise of the
            raw flux.
        """
        from tqdm.auto import tqdm

        found, total = [], 0
        with tqdm(total=n_places * len(levels), disable=not progress_bar,
                  unit='source') as bar:
            for _ in range(MAX_SETS):
                found.append(self._one_set(denoiser, levels,
                                           n_places - total, bar))
                total += len(found[-1]['blank'])
                if total >= n_places or total == 0:
                    break
        if total < MIN_PLACES:
            msg = (f'ccd must have room for {MIN_PLACES} injected sources '
                   f'at a separation of {self.separation:g} pixels, got '
                   f'{total}')
            raise ValueError(msg)
        return {name: np.concatenate([part[name] for part in found])
                for name in ('true', 'recovered', 'blank')}

    def _places(self, limit):
        """
        Apertures of the catalog, moved by whole pixels to blank places.
        """
        ny, nx = self.plane.values.shape
        step = self.separation
        start = self.rng.uniform(0, step, 2)
        y, x = np.meshgrid(np.arange(start[0], ny, step),
                           np.arange(start[1], nx, step), indexing='ij')
        x, y = x.ravel(), y.ravel()
        rows = self.rng.choice(self.usable, size=len(x))
        moved = self.apertures[rows]
        moved['x'] += np.rint(x - moved['x'])
        moved['y'] += np.rint(y - moved['y'])
        places = np.stack([moved['x'], moved['y']], axis=1)
        chosen = np.flatnonzero(self.tree.query(places)[0] > step / 2)
        chosen = self.rng.permutation(chosen)[:limit]
        return moved[chosen], rows[chosen]

    def _one_set(self, denoiser, levels, limit, bar):
        """
        All levels of brightness at one set of places.
        """
        moved, rows = self._places(limit)
        raw = measure(self.plane, moved, *self.annulus)
        blank = measure(self.denoised, moved, *self.annulus)
        good = ((np.asarray(raw['flag'] | blank['flag']) & SPOILED) == 0)
        good &= np.isfinite(_bare(raw['flux'])) & np.isfinite(
            _bare(blank['flux']))
        moved, rows, noise = moved[good], rows[good], _bare(
            raw['flux_error'])[good]
        true, recovered = np.empty((2, len(moved), len(levels)))
        sources = self._unit_sources(moved, rows)
        # every level is somewhere in each frame, so that the frames differ
        # as little as possible for whatever the denoiser estimates of them
        first = self.rng.permutation(len(moved))
        for shift in range(len(levels) if len(moved) else 0):
            level = (first + shift) % len(levels)
            added = np.zeros(self.plane.values.shape)
            for (here, image), flux in zip(sources, levels[level] * noise,
                                           strict=True):
                added[here] += flux * image
            photons = None
            if self.gain is not None:
                photons = np.maximum(added, 0) / self.gain
                added = self.rng.poisson(photons * self.gain**2) / self.gain
            changed = _denoise(denoiser, _with_light(self.base, added,
                                                     photons))
            place = np.arange(len(moved))
            true[place, level] = self._sums(added, moved) / noise
            recovered[place, level] = self._sums(
                changed.values - self.denoised.values, moved) / noise
            bar.update(len(moved))
        return {'true': true, 'recovered': recovered,
                'blank': _bare(blank['flux'])[good] / noise}

    def _unit_sources(self, moved, rows):
        """
        Place each source, and render it for an aperture flux of 1.
        """
        sources = []
        for row, place in zip(rows, moved, strict=True):
            stamp, x_low, y_low = self.profiles.stamp(row)
            share = aperture_share(stamp, x_low, y_low, self.apertures[row])
            x_low += int(np.rint(place['x'] - self.apertures['x'][row]))
            y_low += int(np.rint(place['y'] - self.apertures['y'][row]))
            here, part = self.plane.cutout(x_low, x_low + stamp.shape[1],
                                           y_low, y_low + stamp.shape[0])
            sources.append((here, stamp[part] / share))
        return sources

    def _sums(self, image, moved):
        plane = replace(self.plane, values=image, sigma=None)
        nothing = np.zeros(len(moved))
        return aperture_sums(plane, moved, nothing, nothing)['flux']


def _corrected(samples, plane, raw, denoised):
    """
    The table of `measure_response`.
    """
    true, recovered, blank = (samples[name] for name in (
        'true', 'recovered', 'blank'))
    curve = ResponseCurve(true, recovered)
    constant = np.mean(blank)

    residual = (blank[:, np.newaxis] + recovered - constant
                - curve.recovered(true))
    widths = sigma68(residual, axis=0)
    levels = np.mean(true, axis=0)
    grid = np.geomspace(levels[0], levels[-1], 2 * N_LEVELS - 1)
    grid_error = bootstrap_error(
        lambda true, recovered: ResponseCurve(true, recovered).response(grid),
        true, recovered, n_resamples=N_RESAMPLES, seed=len(true))

    def at(snr, nodes, values):
        return np.interp(np.log(np.maximum(snr, 1e-9)), np.log(nodes), values)

    noise = _bare(raw['flux_error'])
    snr = curve.invert(_bare(denoised['flux']) / noise - constant)
    response = curve.response(snr)
    offset = constant + curve.recovered(snr) - response * snr
    table = QTable()
    table['ref_id'] = raw['ref_id']
    error = at(snr, levels, widths) / response * noise
    for name, values in (('flux', snr * noise), ('flux_error', error),
                         ('denoised_flux', _bare(denoised['flux'])),
                         ('raw_flux', _bare(raw['flux']))):
        table[name] = with_unit(values, plane.unit)
    table['snr'] = snr
    table['response'] = response
    table['response_error'] = at(snr, grid, grid_error)
    table['offset'] = with_unit(offset * noise, plane.unit)
    table['flag'] = raw['flag']
    response, recovered = curve.response(grid), curve.recovered(grid)
    table.meta.update(table_meta(), n_injections=true.size, response={
        'snr': grid.tolist(), 'response': response.tolist(),
        'response_error': grid_error.tolist(),
        'flux_ratio': (recovered / grid).tolist(),
        'offset': (constant + recovered - response * grid).tolist(),
        'scatter': (at(grid, levels, widths) / response).tolist()})
    return table
