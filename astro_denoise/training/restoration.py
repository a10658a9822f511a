# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The kernels that restore flux from the residual.
"""

import numpy as np
from scipy.signal import fftconvolve

from ..simulation.profiles import render_sources

__all__ = ['design_kernel', 'design_kernels', 'kernel_response']

_RADIUS = 12
_SIZE = 2 * _RADIUS + 1
_STAMP = 75

# Widths of the Gaussians a kernel is made of, over the FWHM of the PSF.
_BASIS = np.array([0.11, 0.15, 0.2, 0.28, 0.38, 0.52, 0.72, 1.0])

# At this weight the noise of a pixel, over the seeing of a survey, is that
# of a Gaussian filter of one width that loses several times as much flux.
_FAITHFULNESS = 12.0

# Pixels over which a kernel goes to zero at its edge.
_EDGE = 6.0

# A filter that lets pass what is smooth, ``1 - sin(w / 2)^4`` of it, and
# nothing at the Nyquist frequency, where no source has light.
_SMOOTH = np.array([-1.0, 4.0, 10.0, 4.0, -1.0]) / 16.0

# Sources whose flux must come through: half-light radius over FWHM (0 for
# a star), and share of the light in the aperture.
_CASES = ((0.0, 0.625), (0.0, 0.8), (0.3, 0.625), (0.5, 0.625),
          (0.8, 0.625), (0.5, 0.85))


def _source(fwhm, r50, share):
    """Render a source, and the aperture that holds a share of it."""
    center = _STAMP // 2
    catalog = {'x': np.array([center]), 'y': np.array([center]),
               'flux': np.array([1.0]), 'r50': np.array([r50])}
    image = render_sources((_STAMP, _STAMP), catalog, fwhm, 3.5,
                           dtype=np.float64)
    y, x = np.mgrid[:_STAMP, :_STAMP] - center
    distance = np.hypot(y, x)
    order = np.argsort(distance, axis=None)
    light = np.cumsum(image.ravel()[order])
    radius = distance.ravel()[order][np.searchsorted(light, share)]
    return image, np.clip(radius + 0.5 - distance, 0.0, 1.0)


def kernel_response(kernel, fwhm, *, r50=0.0, share=0.625):
    """
    Compute the effect of a linear filter on aperture photometry.

    Parameters
    ----------
    kernel : 2D `~numpy.ndarray`
        The filter.

    fwhm : float
        Of the Moffat point-spread function (beta = 3.5), in pixels.

    r50 : float, optional
        Half-light radius of an exponential galaxy, 0 for a star.

    share : float, optional
        Of the light in the circular aperture.

    Returns
    -------
    response : float
        Flux in the aperture after over before filtering.

    scatter : float
        Standard deviation of the flux after over before filtering, in
        white noise.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.training.restoration import kernel_response
    >>> response, scatter = kernel_response(np.ones((1, 1)), 4.0)
    >>> print(round(response, 3), round(scatter, 3))
    1.0 1.0
    """
    image, aperture = _source(fwhm, r50, share)
    weight = fftconvolve(aperture, kernel, mode='same')
    return ((weight * image).sum() / (aperture * image).sum(),
            np.sqrt((weight**2).sum() / (aperture**2).sum()))


def design_kernel(fwhm, *, faithfulness=None):
    """
    Design the kernel of least noise that keeps compact sources.

    Minimizes ``sum K^2 + w <(R - 1)^2>`` under ``sum K = 1``, with R the
    response of the flux in apertures around stars and galaxies of
    several sizes (see `kernel_response`). K is a sum of Gaussians, so
    that this is a linear problem, each of them freed of its power at
    the Nyquist frequency, which would show as a checkerboard. A source
    of which the network sees nothing is still measured with R near 1 in
    the result.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum of the point-spread function, in
        pixels.

    faithfulness : float, optional
        The weight w: more keeps flux better and noise less well. By
        default 12, and more where the PSF is narrower than 3 pixels,
        which are too large for it.

    Returns
    -------
    kernel : 2D `~numpy.ndarray`
        Shape (25, 25), of sum 1.

    Examples
    --------
    >>> from astro_denoise.training.restoration import design_kernel
    >>> kernel = design_kernel(4.0)
    >>> print(kernel.shape, round(float((kernel**2).sum()**0.5), 2))
    (25, 25) 0.23
    """
    if faithfulness is None:
        faithfulness = _FAITHFULNESS * max(1.0, (3.0 / fwhm)**2)
    line = np.arange(-_RADIUS, _RADIUS + 1)
    # Down to zero before the edge: a step there has all frequencies.
    edge = np.clip((_RADIUS - 1 - np.abs(line)) / _EDGE, 0.0, 1.0)
    taper = np.sin(0.5 * np.pi * edge)**2
    basis = []
    for sigma in np.maximum(_BASIS * fwhm, [0.3, *[0.35] * 7]):
        profile = np.convolve(np.exp(-0.5 * (line / sigma)**2) * taper,
                              _SMOOTH, mode='same')
        basis.append(np.outer(profile, profile) / profile.sum()**2)
    quadratic = np.tensordot(basis, basis, axes=((1, 2), (1, 2)))
    linear = np.zeros(len(basis))
    for r50, share in _CASES:
        image, aperture = _source(fwhm, r50 * fwhm, share)
        correlated = fftconvolve(aperture, image[::-1, ::-1], mode='same')
        middle = slice(_STAMP // 2 - _RADIUS, _STAMP // 2 + _RADIUS + 1)
        correlated = correlated[middle, middle] / (aperture * image).sum()
        response = np.tensordot(basis, correlated, axes=((1, 2), (0, 1)))
        quadratic += faithfulness / len(_CASES) * np.outer(response, response)
        linear += faithfulness / len(_CASES) * response
    # Lagrange multiplier for the unit sum; every Gaussian has sum 1.
    ones = np.ones((len(basis), 1))
    system = np.block([[quadratic, ones], [ones.T, np.zeros((1, 1))]])
    weights = np.linalg.lstsq(system, np.append(linear, 1.0),
                              rcond=1e-11)[0][:-1]
    kernel = np.tensordot(weights, basis, axes=1)
    return kernel / kernel.sum()


def design_kernels(fwhms, **options):
    """
    Design kernels for several widths of the point-spread function.

    Parameters
    ----------
    fwhms : sequence of float
        In pixels.

    **options
        Passed to `design_kernel`.

    Returns
    -------
    kernels : 3D `~numpy.ndarray`
        Shape (n, 25, 25), float32.
    """
    return np.stack([design_kernel(fwhm, **options)
                     for fwhm in fwhms]).astype(np.float32)
