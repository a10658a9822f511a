# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Profile photometry: the matched filter for isolated sources.
"""

import numpy as np
from astropy.modeling import Model
from astropy.table import QTable
from scipy.optimize import minimize

from ..frames.checks import warn_of_denoised
from ..frames.provenance import table_meta
from .annulus import SIGMA_CLIP, annulus_statistics, check_annulus, pixel_noise
from .apertures import aperture_sums, ellipse_weights
from .plane import ERROR_OF_RAW, open_plane, with_unit
from .tables import aperture_table

__all__ = ['profile_photometry']

FRACTION = 0.625  # of the light, in an aperture of the PAU survey
START_BETA = 3.88  # for which a star's aperture has 0.72 FWHM
FIT_SNR = 5.0
FIT_SOURCES = 60
MODEL_ERROR = 0.05  # of the profile of a bright source
# Nodes and weights of the integral over a pixel along one axis.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(3)
NODES, WEIGHTS = NODES / 2, WEIGHTS / 2


class MoffatProfiles:
    """
    Elliptical Moffat profiles of unit flux, shaped like the apertures.

    With ``scale=1`` an aperture holds 62.5 per cent of the light.

    Parameters
    ----------
    apertures : `~astropy.table.QTable`
        From `~astro_denoise.photometry.tables.aperture_table`.

    scale : float, optional
        Size of the profiles, relative to the apertures.

    beta : float, optional
        Exponent of the Moffat profile.

    reach : float, optional
        Half the size of a stamp in core radii. With 3 all that matters to
        a matched filter is inside.
    """

    def __init__(self, apertures, scale=1.0, beta=START_BETA, reach=3.0):
        self.columns = {name: np.asarray(apertures[name], dtype=float)
                        for name in ('x', 'y', 'a', 'b', 'theta')}
        self.scale = scale
        self.beta = beta
        self.reach = reach

    def stamp(self, row):
        """
        The profile of a row on its pixels.

        Parameters
        ----------
        row : int
            The row of the apertures.

        Returns
        -------
        stamp : 2D `~numpy.ndarray`
            The share of the light in each pixel.

        x_low, y_low : int
            The stamp's first pixel.
        """
        theta = self.columns['theta'][row]
        core = self.scale / np.sqrt(
            (1 - FRACTION)**(-1 / (self.beta - 1)) - 1)
        a, b = core * self.columns['a'][row], core * self.columns['b'][row]
        x, y = self.columns['x'][row], self.columns['y'][row]
        x_pixel, y_pixel = int(np.rint(x)), int(np.rint(y))
        half = int(np.ceil(self.reach * max(a, b))) + 2
        pixels = np.arange(-half, half + 1)[:, np.newaxis] + NODES
        dx = (pixels - (x - x_pixel)).ravel()
        dy = (pixels - (y - y_pixel)).ravel()[:, np.newaxis]
        cosine, sine = np.cos(theta), np.sin(theta)
        square = (((dx * cosine + dy * sine) / a)**2
                  + ((dy * cosine - dx * sine) / b)**2)
        profile = (1 + square)**-self.beta
        size = 2 * half + 1
        stamp = np.einsum('iajb,a,b->ij', profile.reshape(size, 3, size, 3),
                          WEIGHTS, WEIGHTS)
        stamp *= (self.beta - 1) / (np.pi * a * b)
        return stamp, x_pixel - half, y_pixel - half


class StampProfiles:
    """
    Profiles given as images around the pixel nearest to each source.

    Parameters
    ----------
    apertures : `~astropy.table.QTable`
        The apertures.

    stamps : 3D `~numpy.ndarray`
        Shape (n_sources, ny, nx), the share of the light in each pixel.
    """

    def __init__(self, apertures, stamps):
        stamps = np.asarray(stamps, dtype=float)
        if (stamps.ndim != 3 or len(stamps) != len(apertures)
                or not stamps.shape[1] % 2 or not stamps.shape[2] % 2):
            msg = ('profile must have the shape (n_sources, ny, nx) with '
                   f'{len(apertures)} sources and odd ny and nx, got '
                   f'{stamps.shape}')
            raise ValueError(msg)
        bad = ~np.all(np.isfinite(stamps), axis=(1, 2)) | ~np.any(
            stamps > 0, axis=(1, 2))
        if np.any(bad):
            msg = ('profile must be finite and positive somewhere, got '
                   f'otherwise in row {np.flatnonzero(bad)[0]}')
            raise ValueError(msg)
        self.stamps = stamps
        self.x = np.asarray(apertures['x'])
        self.y = np.asarray(apertures['y'])

    def stamp(self, row):
        """
        The profile of a row; see `MoffatProfiles.stamp`.
        """
        stamp = self.stamps[row]
        return (stamp, int(np.rint(self.x[row])) - stamp.shape[1] // 2,
                int(np.rint(self.y[row])) - stamp.shape[0] // 2)


class ModelProfiles:
    """
    One point-spread function for all sources.

    Parameters
    ----------
    apertures : `~astropy.table.QTable`
        The apertures; the stamps reach six times as far.

    model : `~astropy.modeling.Model`
        A photutils PSF model with the parameters ``flux``, ``x_0`` and
        ``y_0``.
    """

    def __init__(self, apertures, model):
        missing = {'flux', 'x_0', 'y_0'} - set(model.param_names)
        if missing:
            msg = ('profile must be a model with the parameters flux, x_0 '
                   f'and y_0, got {type(model).__name__} without '
                   f'{", ".join(sorted(missing))}')
            raise ValueError(msg)
        self.model = model.copy()
        self.model.flux = 1.0
        self.x = np.asarray(apertures['x'])
        self.y = np.asarray(apertures['y'])
        self.half = np.ceil(6 * np.maximum(apertures['a'],
                                           apertures['b'])).astype(int)

    def stamp(self, row):
        """
        The profile of a row; see `MoffatProfiles.stamp`.
        """
        x_low = int(np.rint(self.x[row])) - self.half[row]
        y_low = int(np.rint(self.y[row])) - self.half[row]
        size = 2 * self.half[row] + 1
        yy, xx = np.mgrid[y_low:y_low + size, x_low:x_low + size]
        self.model.x_0, self.model.y_0 = self.x[row], self.y[row]
        return self.model(xx, yy), x_low, y_low


def _overlap(plane, profiles, row, noise):
    """
    Profile, inverse variance and slices of a source on the frame.
    """
    stamp, x_low, y_low = profiles.stamp(row)
    here, part = plane.cutout(x_low, x_low + stamp.shape[1],
                              y_low, y_low + stamp.shape[0])
    if here is None:
        return None
    variance = noise**2 if plane.sigma is None else plane.variance(here)
    return stamp[part], plane.valid[here] / variance, here


def _fit_moffat(plane, apertures, mean, noise, snr):
    """
    Size and exponent that make the matched filter see the most.

    With fewer than three sources above a signal-to-noise ratio of 5 the
    profile is not fitted.
    """
    bright = np.flatnonzero(np.isfinite(snr) & (snr > FIT_SNR))
    bright = bright[np.argsort(-snr[bright])][:FIT_SOURCES]
    profiles = MoffatProfiles(apertures)
    if len(bright) < 3:
        return profiles

    def loss(parameters):
        profiles.scale = np.exp(parameters[0])
        profiles.beta = 1 + np.exp(parameters[1])
        gain = 0.0
        for row in bright:
            stamp, weights, here = _overlap(plane, profiles, row, noise[row])
            values = plane.values[here] - mean[row]
            power = (max(np.sum(weights * stamp * values), 0)**2
                     / np.sum(weights * stamp**2))
            # the likelihood of a faint source, but no profile fits a bright
            # one exactly, and none should decide alone
            gain += np.log1p(MODEL_ERROR**2 * power)
        return -gain

    start = np.array([0.0, np.log(START_BETA - 1)])
    simplex = start + np.array([[0, 0], [0.15, 0], [0, 0.3]])
    best = minimize(loss, start, method='Nelder-Mead',
                    bounds=[(-1.2, 1.2), (-0.5, 2.3)],
                    options={'initial_simplex': simplex, 'xatol': 0.005,
                             'fatol': 1e-4, 'maxfev': 40}).x
    return MoffatProfiles(apertures, np.exp(best[0]), 1 + np.exp(best[1]))


def aperture_share(stamp, x_low, y_low, aperture):
    """
    The share of a profile's light that is in its aperture.

    Parameters
    ----------
    stamp, x_low, y_low : 2D `~numpy.ndarray`, int, int
        From `MoffatProfiles.stamp`.

    aperture : row of `~astropy.table.QTable`
        The aperture.

    Returns
    -------
    share : float
        The share.
    """
    inside, (x1, x2, y1, y2) = ellipse_weights(
        *(aperture[name] for name in ('x', 'y', 'a', 'b', 'theta')))
    ny, nx = stamp.shape
    low_x, high_x = max(x1, x_low), min(x2, x_low + nx)
    low_y, high_y = max(y1, y_low), min(y2, y_low + ny)
    return np.sum(
        stamp[low_y - y_low:high_y - y_low, low_x - x_low:high_x - x_low]
        * inside[low_y - y1:high_y - y1, low_x - x1:high_x - x1])


def open_profile(profile, plane, apertures, mean, noise, snr):
    """
    The profiles that the ``profile`` of `profile_photometry` stands for.

    Parameters
    ----------
    profile : str, `~numpy.ndarray` or `~astropy.modeling.Model`
        The argument.

    plane, apertures : `Plane`, `~astropy.table.QTable`
        The frame and the apertures.

    mean, noise, snr : 1D `~numpy.ndarray`
        Background, noise of a pixel and signal-to-noise ratio.

    Returns
    -------
    profiles : object
        Has the method ``stamp``.
    """
    if isinstance(profile, Model):
        return ModelProfiles(apertures, profile)
    if not isinstance(profile, str):
        return StampProfiles(apertures, profile)
    if profile != 'fit':
        msg = f"profile must be 'fit', a model or an array, got {profile!r}"
        raise ValueError(msg)
    return _fit_moffat(plane, apertures, mean, noise, snr)


def profile_photometry(data, catalog, profile='fit', *, r_in=30, r_out=45,
                       sigma_clip=SIGMA_CLIP, error=None, gain=None,
                       mask=None, wcs=None, theta_sign=1, saturation=None):
    r"""
    Fluxes by a matched filter with a known profile.

    With :math:`p` the share of the light in each pixel the flux is
    :math:`\sum p\,(d - b)/\sigma^2 \big/ \sum p^2/\sigma^2`. For an
    isolated source no unbiased flux has a smaller error (the Cramér-Rao
    bound), neither on the raw frame nor on a denoised one: this is what
    denoised fluxes have to compete with. The light of neighbors is not
    told apart: in blends and crowded fields the scatter is 1.5 to 2.4
    times the bound, and
    `~astro_denoise.photometry.forced_photometry` reaches it.

    Parameters
    ----------
    data, catalog : frame, table or apertures
        As in `~astro_denoise.photometry.annulus_photometry`. The frame
        should be a raw one: the noise of its pixels is taken as
        independent.

    profile : 'fit', 3D array or `~astropy.modeling.Model`, optional
        ``'fit'``: elliptical Moffat profiles of the shape of the
        apertures, their size and exponent fitted to the brightest
        sources. An array of shape (n_sources, ny, nx): the share of the
        light in the pixels around the one nearest to each source, odd
        sizes. A photutils PSF model: the same for all sources.

    r_in, r_out, sigma_clip, error, gain, mask, wcs : optional
        As in `~astro_denoise.photometry.annulus_photometry`.

    theta_sign, saturation : optional
        As in `~astro_denoise.photometry.annulus_photometry`.

    Returns
    -------
    table : `~astropy.table.QTable`
        ``ref_id``, ``flux`` (all the light of the profile),
        ``flux_error``, ``aperture_fraction`` (the share of it in the
        aperture), ``floor_error`` (the Cramér-Rao bound of the light in
        the aperture, background known; with ``gain`` the photon noise of
        the source counts) and ``flag``. NaN for sources that
        reach over the edge of the frame.

    Raises
    ------
    ValueError, TypeError
        As `~astro_denoise.photometry.annulus_photometry`, and if the
        profile is of another kind or shape.

    Warns
    -----
    ProcessedFrameWarning
        If the frame was denoised and ``error`` is not given: the errors
        of the frame itself take pixels for independent.

    NoiseEstimateWarning
        If the uncertainty of finite pixels is NaN: they are left out.

    Notes
    -----
    The weights do not follow the photon noise of the source, which would
    correlate them with the flux.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import profile_photometry
    >>> from photutils.psf import CircularGaussianPRF
    >>> yy, xx = np.mgrid[:120, :120]
    >>> star = CircularGaussianPRF(flux=500, x_0=60.3, y_0=59.8, fwhm=4)
    >>> image = star(xx, yy) + np.random.default_rng(1).normal(size=(120, 120))
    >>> catalog = QTable({'ref_id': [7], 'aperture_x': [60.3],
    ...                   'aperture_y': [59.8], 'aperture_a': [2.4],
    ...                   'aperture_b': [2.4], 'aperture_theta': [0.0]})
    >>> table = profile_photometry(image, catalog, star)
    >>> bool(abs(table['flux'][0] - 500) < 3 * table['flux_error'][0])
    True
    >>> print(f'{table["aperture_fraction"][0]:.2f}')
    0.61
    """
    check_annulus(r_in, r_out, sigma_clip)
    if error is None:
        warn_of_denoised(getattr(data, 'meta', {}), cure=ERROR_OF_RAW)
    plane = open_plane(data, error=error, gain=gain, mask=mask, wcs=wcs,
                       saturation=saturation)
    apertures = aperture_table(catalog, wcs=plane.wcs, theta_sign=theta_sign)
    mean, _, sigma, samples = annulus_statistics(
        plane, np.asarray(apertures['x']), np.asarray(apertures['y']),
        r_in, r_out, sigma_clip)
    mean[samples < 2] = np.nan
    noise = pixel_noise(sigma, r_in, r_out, sigma_clip)
    sums = aperture_sums(plane, apertures, mean, noise)
    profiles = open_profile(profile, plane, apertures, mean, noise,
                            sums['flux'] / np.sqrt(sums['variance']))
    names = ('flux', 'flux_error', 'aperture_fraction', 'floor_error')
    results = {name: np.full(len(apertures), np.nan) for name in names}
    for row in np.flatnonzero(np.isfinite(sums['flux'])):
        measured = _measure_source(plane, profiles, row, apertures[row],
                                   mean[row], noise[row], samples[row])
        for name, value in zip(names, measured, strict=True):
            results[name][row] = value
    table = QTable()
    table['ref_id'] = apertures['ref_id']
    for name in names:
        unit = None if name == 'aperture_fraction' else plane.unit
        table[name] = with_unit(results[name], unit)
    table['flag'] = sums['flag']
    table.meta.update(table_meta(), profile=type(profiles).__name__)
    if isinstance(profiles, MoffatProfiles):
        table.meta.update(scale=float(profiles.scale),
                          beta=float(profiles.beta))
    return table


def _measure_source(plane, profiles, row, aperture, mean, noise, samples):
    """
    Flux, error, fraction in the aperture and floor of one source.
    """
    stamp, weights, here = _overlap(plane, profiles, row, noise)
    information = np.sum(weights * stamp**2)
    if not information > 0:
        return (np.nan,) * 4
    filter_weights = weights * stamp / information
    flux = np.sum(filter_weights * (plane.values[here] - mean))
    variance = 1 / information + (
        np.sum(filter_weights)**2 * noise**2 / samples)
    if plane.gain is not None and flux > 0:
        photons = np.maximum(flux * stamp, 0) / plane.gain
        variance += np.sum(filter_weights**2 * photons)
        information = np.sum(weights * stamp**2 / (1 + weights * photons))

    fraction = aperture_share(*profiles.stamp(row), aperture)
    return flux, np.sqrt(variance), fraction, fraction / np.sqrt(information)
