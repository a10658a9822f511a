# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The noise of a denoised frame whose pixels were filtered by a kernel.
"""

from dataclasses import dataclass

import numpy as np
from astropy.nddata import StdDevUncertainty
from scipy.signal import fftconvolve

from ..frames.kernel_card import KERNEL_CARD, kernel_from_text
from .raw_noise import RawNoise
from .seen_light import SeenLight

__all__ = ['FilteredNoise', 'denoised_noise', 'frame_kernel', 'refusal']

# Of a sum that must be in footprints to have the error of a filter.
_LEAST_SHARE = 0.5


def frame_kernel(header):
    """
    Read the kernel that a frame was filtered with.

    Parameters
    ----------
    header : mapping
        Of the frame.

    Returns
    -------
    kernel : 2D `~numpy.ndarray` or `None`
        `None` if the header has none.
    """
    text = header.get(KERNEL_CARD)
    return None if text is None else kernel_from_text(text)


def refusal(header):
    """
    Say why there is no error of a sum over a frame, and what to do.

    Parameters
    ----------
    header : mapping
        Of the frame.

    Returns
    -------
    message : str
        For an exception.
    """
    cure = ('measure the raw frame (forced_photometry where positions are '
            "known), or denoise with model='ccd', or give error, the noise "
            'of the raw frame, to have the errors of the raw fluxes')
    if 'DNMODEL' not in header:
        return ('data must be a frame that was denoised by a model with a '
                'restoring kernel, got no DNMODEL in its header')
    model = header['DNMODEL']
    if header.get('DNGUIDE') == 'model':
        return ("data was denoised with guide='model' (DNGUIDE): the light "
                'of its sources is that of a fit, whose errors '
                'forced_photometry of the raw frame gives')
    if model == 'ccd-mmse':
        return ("data was denoised by 'ccd-mmse' (DNMODEL), whose fluxes "
                'have no error: it takes most of the light of a faint source '
                'or leaves it, and a source of a signal-to-noise ratio of 2 '
                f'to 8 is seen or not seen; {cure}')
    return (f'data was denoised by {model!r} (DNMODEL), and its header has no '
            f'restoring kernel ({KERNEL_CARD}) to compute errors of sums '
            f'from; {cure}')


def denoised_noise(data):
    """
    Take the uncertainties out of a denoised frame.

    Parameters
    ----------
    data : object
        The frame.

    Returns
    -------
    sigma : 2D `~numpy.ndarray` or `None`
        Standard deviations, 0 where there is none; `None` if the frame has
        none.
    """
    uncertainty = getattr(data, 'uncertainty', None)
    if uncertainty is None or not hasattr(uncertainty, 'represent_as'):
        return None
    sigma = np.asarray(uncertainty.represent_as(StdDevUncertainty).array)
    return np.nan_to_num(sigma, posinf=0.0)


@dataclass
class FilteredNoise:
    """
    Noise of raw pixels, and the kernel that filtered it.

    Attributes
    ----------
    kernel : 2D `~numpy.ndarray`
        Of odd size, symmetric.

    variance : 2D `~numpy.ndarray`
        Of the raw pixels, 0 where they are not valid.

    sky : 2D `~numpy.ndarray`
        The same without the photons of sources.

    seen : `~astro_denoise.photometry.seen_light.SeenLight` or `None`
        Of the network that the kernel is part of; `None` for a kernel
        alone.

    footprints : 2D `~numpy.ndarray` or `None`
        0 where pixels were not filtered by the kernel, as they are not in
        the footprints of the catalog that the frame was denoised with.
    """

    kernel: np.ndarray
    variance: np.ndarray
    sky: np.ndarray
    seen: SeenLight | None = None
    footprints: np.ndarray | None = None

    @classmethod
    def of(cls, plane, header, kernel, *, knows_noise, denoised=None):
        """
        Find the noise of the raw pixels.

        Parameters
        ----------
        plane, header, kernel, knows_noise, denoised : object
            As for `~astro_denoise.photometry.raw_noise.RawNoise`.

        Returns
        -------
        noise : `FilteredNoise`
            Of the frame.

        Raises
        ------
        ValueError
            If the header does not say what the noise was.
        """
        raw = RawNoise(plane, header, kernel, knows_noise=knows_noise,
                       denoised=denoised)
        seen = None
        if KERNEL_CARD in header:
            seen = SeenLight.of(raw.light, raw.variance, kernel, raw.kept)
        return cls(kernel, raw.variance, raw.sky, seen, plane.flags)

    def of_sum(self, plane, weights, box):
        """
        Compute the variance of a weighted sum of denoised pixels.

        Parameters
        ----------
        plane : `~astro_denoise.photometry.plane.Plane`
            The frame.

        weights : 2D `~numpy.ndarray`
            Of the pixels of a box.

        box : tuple of int
            ``(x_low, x_high, y_low, y_high)``.

        Returns
        -------
        variance : float
            Of the sum; NaN if the box is not on the frame, no pixel is
            valid, or most of them are not in a footprint.
        """
        if not weights.any():
            return np.nan
        filtered = self._filtered(weights, box)
        half = self.kernel.shape[0] // 2
        here, part = plane.cutout(box[0] - half, box[1] + half,
                                  box[2] - half, box[3] + half)
        if here is None or not self._in_footprints(plane, weights, box):
            return np.nan
        return np.sum(filtered[part]**2 * self.variance[here])

    def _filtered(self, weights, box):
        """Weights of the raw pixels in a sum of denoised ones."""
        if self.seen is None:
            return fftconvolve(weights, self.kernel)
        return self.seen.filtered(weights, self.kernel, box)

    def _in_footprints(self, plane, weights, box):
        """Tell whether half of a sum or more is of filtered pixels."""
        if self.footprints is None:
            return True
        here, part = plane.cutout(*box)
        if here is None:
            return False
        weights = np.abs(weights[part])
        return np.sum(weights * (self.footprints[here] != 0)) >= (
            _LEAST_SHARE * weights.sum())

    def of_mean(self, r_in, r_out):
        """
        Compute how correlated the mean over an annulus is.

        Parameters
        ----------
        r_in, r_out : float
            Radii of the annulus, in pixels.

        Returns
        -------
        factor : float
            The variance of the mean over that of as many raw pixels.
        """
        reach = int(np.ceil(r_out))
        annulus = _annulus(reach, 0.0, 0.0, r_in, r_out)
        return np.sum(fftconvolve(annulus, self.kernel)**2) / annulus.sum()

    def of_both(self, weights, x_offset, y_offset, r_in, r_out):
        """
        Compute the covariance of a sum with the mean of its annulus.

        Parameters
        ----------
        weights : 2D `~numpy.ndarray`
            Of the sum, around its middle.

        x_offset, y_offset : float
            From the middle of the weights to the center of the annulus.

        r_in, r_out : float
            Radii of the annulus, in pixels.

        Returns
        -------
        covariance : float
            In units of the variance of a raw pixel.
        """
        filtered = fftconvolve(fftconvolve(weights, self.kernel), self.kernel)
        y, x = (np.arange(n) - (n - 1) / 2 for n in filtered.shape)
        square = ((y[:, np.newaxis] - y_offset)**2 + (x - x_offset)**2)
        inside = (square >= r_in**2) & (square < r_out**2)
        return filtered[inside].sum() / (np.pi * (r_out**2 - r_in**2))


def _annulus(reach, x, y, r_in, r_out):
    line = np.arange(-reach, reach + 1)
    square = (line[:, np.newaxis] - y)**2 + (line - x)**2
    return ((square >= r_in**2) & (square < r_out**2)).astype(float)
