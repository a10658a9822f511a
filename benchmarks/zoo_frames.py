# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A zoo of simulated frames whose noise is known.

Each kind is a function of a random generator and a shape. Scenes are
light in electrons, seen with a gain and a read noise, so that their
noise follows from them; what a camera or a pipeline does to a frame
comes after that.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from astro_denoise.simulation.artefacts import cosmic_rays, saturate
from astro_denoise.simulation.profiles import render_sources
from astro_denoise.simulation.survey import SurveySimulator

__all__ = ['KINDS', 'ZooFrame', 'draw']

KINDS = {}


@dataclass
class ZooFrame:
    """
    A frame and what is true of it.

    Attributes
    ----------
    values : 2D `~numpy.ndarray`
        What a user would give.

    level : float
        Noise of a pixel of the blank sky, or of the darker half of the
        pixels of the darker blocks where there is no sky.

    sigma : 2D `~numpy.ndarray` or `None`
        Noise of every pixel, where it is not that of the level.

    valid : 2D bool `~numpy.ndarray`
        `False` where the user masks a pixel.

    real : 2D bool `~numpy.ndarray`
        `False` where a pixel holds no measurement, said or not.

    white : bool
        Whether the noise is independent from pixel to pixel.

    rho : float
        Largest lag-1 correlation of both axes.

    fwhm : float or `None`
        Of the stars in pixels.

    map_matters : bool
        Whether ``sigma`` is to be found where it is not light that
        makes it differ.

    truth : 2D `~numpy.ndarray` or `None`
        What the values are without noise.

    graded : bool
        Whether the sky, and its noise, differs smoothly all over the
        frame: the level is then that where the sky is what a measurement
        says.
    """

    values: np.ndarray
    level: float
    sigma: np.ndarray | None = None
    valid: np.ndarray | None = None
    real: np.ndarray | None = None
    white: bool = True
    rho: float = 0.0
    fwhm: float | None = None
    map_matters: bool = False
    truth: np.ndarray | None = None
    graded: bool = False
    notes: dict = field(default_factory=dict)

    def __post_init__(self):
        shape = self.values.shape
        self.valid = np.ones(shape, bool) if self.valid is None else self.valid
        self.real = np.ones(shape, bool) if self.real is None else self.real


def kind(name):
    """Enter a function into the zoo under a name."""
    def enter(function):
        KINDS[name] = function
        return function
    return enter


def several(name, options):
    """Enter a function once for each of several options."""
    def enter(function):
        for label, value in options.items():
            def drawn(rng, shape, value=value):
                return function(rng, shape, value)
            KINDS[name.format(label)] = drawn
        return function
    return enter


def draw(name, seed, shape=(512, 512)):
    """
    Draw a frame of a kind.

    Parameters
    ----------
    name : str
        One of `KINDS`.

    seed : int or sequence of int
        Same seed, same frame.

    shape : tuple of int, optional
        Rows and columns; some kinds have their own.

    Returns
    -------
    frame : `ZooFrame`
        The frame.
    """
    return KINDS[name](np.random.default_rng(seed), shape)


def grid(shape):
    """Rows and columns of the pixels, from -1 to 1."""
    return np.meshgrid(*(np.linspace(-1, 1, n) for n in shape),
                       indexing='ij')


def dark_level(sigma, size=64):
    """
    Noise of the darker half of the pixels in the darker blocks.
    """
    rows, columns = (max(n // size, 1) for n in sigma.shape)
    blocks = [block for part in np.array_split(sigma, rows)
              for block in np.array_split(part, columns, axis=1)]
    levels = [np.sqrt(np.mean(block[block <= np.median(block)]**2))
              for block in blocks]
    return float(np.quantile(levels, 0.25))


def exposed(rng, light, gain=1.5, read_noise=6.0, offset=0.0, *, blank=None,
            **truth):
    """
    What a camera makes of light in electrons a pixel.

    ``blank`` is the light of the sky alone, a number.
    """
    light = np.maximum(light, 0.0)
    values = rng.poisson(light) + read_noise * rng.standard_normal(
        light.shape)
    sigma = np.sqrt(light + read_noise**2) / gain
    level = (dark_level(sigma) if blank is None
             else np.sqrt(blank + read_noise**2) / gain)
    return ZooFrame(values / gain + offset, float(level), sigma,
                    truth=light / gain + offset, **truth)


def counts_of(rng, number, low, high, slope=0.8):
    """Fluxes whose cumulative counts fall as a power law."""
    u = rng.uniform(0, 1, number)
    return (low**-slope + u * (high**-slope - low**-slope))**(-1 / slope)


def stars(rng, shape, per_mpix, fwhm, low=300.0, high=3e5, beta=3.5):
    """Light of stars at random."""
    number = max(3, rng.poisson(per_mpix * shape[0] * shape[1] / 1e6))
    sources = {'x': rng.uniform(-5, shape[1] + 5, number),
               'y': rng.uniform(-5, shape[0] + 5, number),
               'flux': counts_of(rng, number, low, high)}
    return render_sources(shape, sources, fwhm, beta, dtype=float)


def galaxies(rng, shape, per_mpix, fwhm, low=1e3, high=3e5, beta=3.5):
    """Light of galaxies at random."""
    number = max(3, rng.poisson(per_mpix * shape[0] * shape[1] / 1e6))
    sources = {'x': rng.uniform(0, shape[1], number),
               'y': rng.uniform(0, shape[0], number),
               'flux': counts_of(rng, number, low, high),
               'r50': fwhm * rng.uniform(0.4, 2.0, number),
               'sersic_n': rng.uniform(0.7, 4.0, number),
               'axis_ratio': rng.uniform(0.3, 1.0, number),
               'theta': rng.uniform(0, np.pi, number)}
    return render_sources(shape, sources, fwhm, beta, dtype=float)


def texture(rng, shape, width):
    """A Gaussian random field of scatter 1 and a width in pixels."""
    plane = ndimage.gaussian_filter(rng.standard_normal(shape), width,
                                    mode='wrap')
    return (plane - plane.mean()) / plane.std()


def power_law(rng, shape, index):
    """A random field of scatter 1 with structure at all scales."""
    ky, kx = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    k = np.hypot(ky[:, None], kx)
    k[0, 0] = np.inf
    plane = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape))
                          * k**(-index / 2), shape)
    return (plane - plane.mean()) / plane.std()


# Plain sky

@several('blank, gain {}', {'0.3': 0.3, '1': 1.0, '30': 30.0})
def blank_sky(rng, shape, gain):
    return exposed(rng, np.full(shape, 200.0), gain, blank=200.0)


@kind('blank, faint in float (1e-12)')
def tiny_numbers(rng, shape):
    return exposed(rng, np.full(shape, 200.0), 1e12, blank=200.0)


@kind('blank, sky subtracted')
def subtracted(rng, shape):
    light = 150 + stars(rng, shape, 200, 3.0)
    return exposed(rng, light, offset=-100.0, blank=150.0, fwhm=3.0)


@kind('gradient')
def gradient(rng, shape):
    y, x = grid(shape)
    return exposed(rng, 400 + 150 * x + 80 * y**2, graded=True)


@kind('scattered light, vignetting')
def vignetting(rng, shape):
    y, x = grid(shape)
    light = 900 * (1 - 0.4 * (x**2 + y**2) / 2)
    return exposed(rng, light + stars(rng, shape, 300, 3.0), fwhm=3.0,
                   graded=True)


@several('survey, PSF {} px', {str(n): n for n in
                               (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0)})
def survey(rng, shape, fwhm):
    scale = max(1.0, fwhm / 3)
    light = 200 + stars(rng, shape, 300 / scale, fwhm, 300 * scale,
                        3e5 * scale)
    light += galaxies(rng, shape, 300 / scale, fwhm, 300 * scale,
                      1e5 * scale)
    return exposed(rng, light, blank=200.0, fwhm=fwhm)


@kind('survey simulator')
def simulator(rng, shape):
    sky = SurveySimulator(shape=shape, density=1000.0)
    exposures, _ = sky.exposures(1, seed=rng)[:2]
    frame = exposures[0]
    camera = sky.detector
    level = np.hypot(np.sqrt(sky.sky_level[0]),
                     camera.read_noise) / camera.gain
    mask = (np.zeros(shape, bool) if frame.mask is None
            else np.broadcast_to(frame.mask, shape))
    return ZooFrame(np.asarray(frame.data, float), float(level),
                    valid=~mask, fwhm=frame.header['SEEING'])


@kind('25 stars among 500 galaxies')
def few_stars(rng, shape):
    fwhm = rng.uniform(2.2, 3.0)
    area = shape[0] * shape[1] / 1e6
    light = 200 + stars(rng, shape, 25 / area, fwhm, 4e3, 2e5)
    light += galaxies(rng, shape, 500 / area, fwhm, 2e3, 1e5)
    return exposed(rng, light, blank=200.0, fwhm=fwhm)


@kind('galaxies only')
def only_galaxies(rng, shape):
    light = 200 + galaxies(rng, shape, 800, 3.0)
    return exposed(rng, light, blank=200.0)


# Crowded, and filled by structure

@several('crowded, {} per Mpix', {str(n): n for n in
                                  (600, 6000, 20000, 60000)})
def crowded(rng, shape, number):
    light = 200 + stars(rng, shape, number, 3.0, 100.0, 1e5)
    return exposed(rng, light, fwhm=3.0)


@kind('crowded, undersampled (1.5 px)')
def crowded_sharp(rng, shape):
    light = 200 + stars(rng, shape, 3000, 1.5, 300.0, 1e5)
    return exposed(rng, light, fwhm=1.5)


@kind('globular cluster')
def globular(rng, shape):
    number = round(0.02 * shape[0] * shape[1])
    radius = 0.12 * min(shape) * np.sqrt(
        rng.uniform(0, 1, number)**-0.8 - 0.99)
    angle = rng.uniform(0, 2 * np.pi, number)
    sources = {'x': shape[1] / 2 + radius * np.cos(angle),
               'y': shape[0] / 2 + radius * np.sin(angle),
               'flux': counts_of(rng, number, 200.0, 2e5)}
    light = 150 + render_sources(shape, sources, 3.0, 3.5, dtype=float)
    return exposed(rng, light, fwhm=3.0)


@kind('galaxy fills the frame')
def elliptical(rng, shape):
    y, x = grid(shape)
    radius = np.hypot(x / 0.8, y) + 0.01
    light = 150 + 3000 * np.exp(-5 * radius**0.5) * 10
    return exposed(rng, light + stars(rng, shape, 300, 3.0), fwhm=3.0)


@kind('spiral')
def spiral(rng, shape):
    y, x = grid(shape)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    arms = 1 + 0.8 * np.cos(2 * (angle - 5 * np.log(radius + 0.05)))
    clumps = np.exp(0.8 * texture(rng, shape, 2.5))
    light = 150 + 4000 * np.exp(-3 * radius) * arms * clumps
    return exposed(rng, light + stars(rng, shape, 300, 3.0), fwhm=3.0)


@several('nebula, structure of {} px', {str(n): n for n in (2, 4, 8, 16)})
def nebula(rng, shape, width):
    # 25 times the noise, as bright H II regions are
    light = 200 + 400 * (1 + 0.8 * texture(rng, shape, width))
    light = np.maximum(light, 200)
    return exposed(rng, light, 1.5, 6.0, fwhm=None)


@several('constant noise on structure of {} px',
         {str(n): n for n in (2, 4, 8, 16)})
def structured(rng, shape, width):
    truth = 250 * texture(rng, shape, width)
    values = truth + 10 * rng.standard_normal(shape)
    return ZooFrame(values, 10.0, truth=truth)


@kind('filaments')
def filaments(rng, shape):
    ridge = np.abs(texture(rng, shape, 12.0))
    light = 200 + 2500 * np.exp(-(ridge / 0.15)**2)
    return exposed(rng, light + stars(rng, shape, 300, 3.0), fwhm=3.0)


@kind('fringes')
def fringes(rng, shape):
    phase = 40 * texture(rng, shape, min(shape) / 6)
    light = 1500 + 150 * np.sin(phase)
    return exposed(rng, light + stars(rng, shape, 300, 3.0), fwhm=3.0)


@kind('solar disc')
def sun(rng, shape):
    y, x = grid(shape)
    radius = np.hypot(x, y) / 0.85
    disc = np.where(radius < 1, 0.4 + 0.6 * np.sqrt(
        np.clip(1 - radius**2, 0, 1)), 0.002)
    disc = ndimage.gaussian_filter(disc, 0.8)
    light = 30000 * disc * (1 + 0.05 * texture(rng, shape, 1.2))
    return exposed(rng, light, 5.0, 10.0, blank=60.0)


@kind('high contrast (a star with a halo of speckles)')
def speckles(rng, shape):
    y, x = (axis * n / 2 for axis, n in zip(grid(shape), shape, strict=True))
    radius = np.hypot(x, y)
    field = ndimage.gaussian_filter(rng.standard_normal((2, *shape)),
                                    (0, 1.3, 1.3))
    field = (field**2).sum(0) / (field**2).sum(0).mean()
    light = 50 + 2e6 / (1 + (radius / 5)**2.5) * field
    return exposed(rng, light)


@kind('all sky (structure at all scales)')
def all_sky(rng, shape):
    light = 300 * np.exp(0.7 * power_law(rng, shape, 2.6))
    return exposed(rng, light + stars(rng, shape, 3000, 1.8), fwhm=1.8)


@kind('planet')
def planet(rng, shape):
    y, x = grid(shape)
    disc = ndimage.gaussian_filter(
        (np.hypot(x, y * 1.07) < 0.5).astype(float), 1.5)
    bands = 1 + 0.3 * np.sin(25 * y) + 0.05 * texture(rng, shape, 3.0)
    return exposed(rng, 50 + 8000 * disc * bands)


@kind('echelle')
def echelle(rng, shape):
    y, x = np.indices(shape)
    middle = shape[1] / 2
    trace = y + 12 * ((x - middle) / middle)**2
    light = 30 + 2500 * np.exp(-0.5 * ((trace % 16 - 8) / 2.0)**2)
    light *= 1 + 0.3 * np.sin(x / 9.0)
    return exposed(rng, light)


@kind('long slit')
def long_slit(rng, shape):
    y, x = np.indices(shape)
    lines = np.zeros(shape[1])
    for position in rng.uniform(0, shape[1], shape[1] // 20):
        lines += rng.exponential(600) * np.exp(
            -0.5 * ((np.arange(shape[1]) - position) / 1.6)**2)
    trace = 3000 * np.exp(-0.5 * ((y - shape[0] * 0.45 - x / 90) / 2.2)**2)
    return exposed(rng, 80 + lines + trace)


@kind('trailed stars')
def trails(rng, shape):
    light = stars(rng, shape, 300, 2.5, 3e3, 3e5)
    return exposed(rng, 200 + ndimage.uniform_filter1d(light, 25, axis=1))


# Noise that differs from place to place

@kind('Bayer mosaic')
def bayer(rng, shape):
    color = np.array([[1.0, 2.0], [2.0, 1.4]])
    pattern = color[np.arange(shape[0])[:, None] % 2,
                     np.arange(shape[1]) % 2]
    light = pattern * (500 + stars(rng, shape, 300, 3.0))
    frame = exposed(rng, light, 1.0, 3.0, fwhm=3.0, map_matters=True)
    # of pixels of all colors together
    frame.level = float(np.sqrt(np.mean(500 * color + 3.0**2)))
    return frame


@kind('2x2 gain pattern of 10 %')
def even_odd(rng, shape):
    pattern = np.array([[1.0, 1.1], [1.06, 0.97]])[
        np.arange(shape[0])[:, None] % 2, np.arange(shape[1]) % 2]
    frame = exposed(rng, 500 + stars(rng, shape, 300, 3.0), blank=500.0,
                    fwhm=3.0)
    frame.values, frame.sigma = frame.values * pattern, frame.sigma * pattern
    frame.truth = frame.truth * pattern
    frame.level *= float(np.sqrt(np.mean(pattern**2)))
    frame.map_matters = True
    return frame


@kind('two amplifiers 5 / 12')
def amplifiers(rng, shape):
    sigma = np.full(shape, 5.0)
    sigma[:, shape[1] // 2:] = 12.0
    truth = stars(rng, shape, 300, 3.0)
    truth[:, shape[1] // 2:] += 3.0
    values = truth + sigma * rng.standard_normal(shape)
    return ZooFrame(values, 5.0, sigma, fwhm=3.0, map_matters=True,
                    truth=truth)


def _stack(rng, shape, depth):
    sigma = 20 / np.sqrt(depth)
    truth = stars(rng, shape, 300, 3.0)
    values = truth + sigma * rng.standard_normal(shape)
    return ZooFrame(values, float(np.median(sigma)), sigma, fwhm=3.0,
                    map_matters=True, truth=truth)


@kind('stack with a shallow rim (1-10 deep)')
def shallow_rim(rng, shape):
    edge = np.minimum.reduce(np.broadcast_arrays(
        *(np.minimum(n - 1 - i, i) for i, n in zip(
            np.indices(shape), shape, strict=True))))
    return _stack(rng, shape, np.clip(1 + edge // 12, 1, 10))


@kind('depth map of a dither')
def dither(rng, shape):
    depth = np.ones(shape)
    for _ in range(8):
        y, x = (int(rng.integers(0, n // 4)) for n in shape)
        depth[y:y + shape[0] * 3 // 4, x:x + shape[1] * 3 // 4] += 1
    return _stack(rng, shape, depth)


@kind('vignetted stack, flat-fielded')
def flat_fielded(rng, shape):
    y, x = grid(shape)
    return _stack(rng, shape, 1 - 0.75 * (x**2 + y**2) / 2)


# Pixels that hold no data

def _with_fill(rng, shape, value, rows, sky=500.0, *, whole=False):
    frame = exposed(rng, sky + stars(rng, shape, 300, 3.0), 1.0, 5.0,
                    blank=sky, fwhm=3.0)
    if whole:
        frame.values = np.round(frame.values - sky)
        frame.truth = frame.truth - sky
    frame.values[:round(rows * shape[0])] = value
    frame.real[:round(rows * shape[0])] = False
    return frame


@several('border of zeros, {} %', {'5': 0.05, '30': 0.3, '80': 0.8})
def zero_border(rng, shape, rows):
    return _with_fill(rng, shape, 0.0, rows)


@kind('integer border over sky 0')
def integer_border(rng, shape):
    return _with_fill(rng, shape, 0.0, 0.3, 40.0, whole=True)


@several('sentinel {}', {'-9999': -9999.0, '65535': 65535.0, '1e20': 1e20})
def sentinel(rng, shape, value):
    return _with_fill(rng, shape, value, 0.05)


@kind('sentinel -9999 in 2 % of the pixels, one by one')
def scattered_sentinel(rng, shape):
    frame = _with_fill(rng, shape, 0.0, 0.0)
    frame.real = rng.random(shape) > 0.02
    frame.values[~frame.real] = -9999.0
    return frame


@kind('rotated mosaic, zeros around it')
def rotated(rng, shape):
    frame = _with_fill(rng, shape, 0.0, 0.0, 100.0)
    y, x = grid(shape)
    frame.real = np.abs(x) + np.abs(y) < 0.95
    frame.values[~frame.real] = 0.0
    return frame


@kind('saturated stars')
def saturated(rng, shape):
    light = 200 + stars(rng, shape, 150, 3.0, 1e5, 3e7)
    frame = exposed(rng, light, 1.0, 6.0, blank=200.0, fwhm=3.0)
    frame.values = saturate(frame.values, 60000.0)[0]
    frame.real = frame.values < 59999.0
    return frame


@kind('dead pixels 5 %')
def dead(rng, shape):
    frame = _with_fill(rng, shape, 0.0, 0.0)
    frame.real = rng.random(shape) > 0.05
    frame.values[~frame.real] = 0.0
    return frame


@kind('hot pixels 5 %')
def hot(rng, shape):
    frame = _with_fill(rng, shape, 0.0, 0.0)
    frame.real = rng.random(shape) > 0.05
    frame.values[~frame.real] += rng.exponential(2000.0, np.sum(~frame.real))
    return frame


@kind('cosmic rays 5 %')
def rays(rng, shape):
    frame = _with_fill(rng, shape, 0.0, 0.0)
    charge = cosmic_rays(shape, round(0.0033 * shape[0] * shape[1]), rng=rng)
    frame.values += charge
    frame.real = charge < 3 * frame.level
    return frame


@kind('30 % masked, one by one')
def masked(rng, shape):
    frame = survey(rng, shape, 3.0)
    frame.valid = rng.random(shape) > 0.3
    frame.values[~frame.valid] = 1e6
    return frame


@kind('15 % masked, one by one')
def lightly_masked(rng, shape):
    frame = survey(rng, shape, 3.0)
    frame.valid = rng.random(shape) > 0.15
    frame.values[~frame.valid] = np.nan
    return frame


@kind('NaN areas, 30 %')
def nan_areas(rng, shape):
    frame = survey(rng, shape, 3.0)
    frame.valid = texture(rng, shape, 10.0) > -0.52
    frame.values[~frame.valid] = np.nan
    return frame


@kind('a quarter of the sources masked')
def masked_sources(rng, shape):
    light = stars(rng, shape, 300, 3.0)
    frame = exposed(rng, light + 200, blank=200.0, fwhm=3.0)
    frame.valid = (light < 40) | (texture(rng, shape, 20.0) < 0.7)
    return frame


# Numbers in steps

@several('quantized, noise of {} step', {str(n): n for n in
                                         (0.15, 0.25, 0.5, 1.0, 3.0)})
def quantized(rng, shape, noise):
    y, x = grid(shape)
    truth = (500.3 + 4 * x + 2 * y
             + stars(rng, shape, 300, 3.0, 10.0, 1e4) * noise)
    values = np.round(truth + noise * rng.standard_normal(shape))
    return ZooFrame(values, float(np.sqrt(noise**2 + 1 / 12)), fwhm=3.0,
                    truth=truth)


@kind('quantized, 0.1 step on a ramp')
def quantized_ramp(rng, shape):
    y, x = grid(shape)
    truth = 500 + 30 * x + 10 * y
    values = np.round(truth + 0.1 * rng.standard_normal(shape))
    return ZooFrame(values, float(np.sqrt(0.01 + 1 / 12)), truth=truth)


@kind('steps of 16 (12 bits in 16)')
def steps(rng, shape):
    frame = exposed(rng, 200 + stars(rng, shape, 300, 3.0), 0.5, 6.0,
                    blank=200.0, fwhm=3.0)
    frame.values = 16 * np.round(frame.values / 16)
    frame.level = float(np.hypot(frame.level, 16 / np.sqrt(12)))
    return frame


@several('photons, {} a pixel', {'0.1': 0.1, '2': 2.0, '50': 50.0})
def photons(rng, shape, mean):
    light = mean + stars(rng, shape, 300, 3.0, 10 * mean, 1e4 * mean)
    values = rng.poisson(light).astype(float)
    return ZooFrame(values, float(np.sqrt(mean)), np.sqrt(light), fwhm=3.0,
                    truth=light)


@kind('electrons')
def electrons(rng, shape):
    return exposed(rng, 1000 + stars(rng, shape, 300, 3.0), 1.0, 4.0,
                   blank=1000.0, fwhm=3.0)


@kind('average of 20 exposures')
def averaged(rng, shape):
    light = 200 + stars(rng, shape, 500, 3.0)
    values = rng.poisson(20 * light) / 20 + 6 / np.sqrt(
        20) * rng.standard_normal(shape)
    return ZooFrame(values, float(np.sqrt(236 / 20)),
                    np.sqrt((light + 36) / 20), fwhm=3.0, truth=light)


# Lines, correlation

def _lines(rng, shape, axis, size):
    frame = exposed(rng, 200 + stars(rng, shape, 300, 3.0), 1.0, 6.0,
                    blank=200.0, fwhm=3.0)
    length = [1, 1]
    length[1 - axis] = shape[1 - axis]
    offsets = rng.standard_normal(length) * size * frame.level
    frame.values += offsets
    frame.white = False
    frame.rho = size**2 / (1 + size**2)
    frame.notes['lines'] = 1 - axis
    return frame


@several('row noise of {} sigma', {'0.3': 0.3, '1': 1.0})
def rows(rng, shape, size):
    return _lines(rng, shape, 1, size)


@kind('column noise of 1 sigma')
def columns(rng, shape):
    return _lines(rng, shape, 0, 1.0)


@kind('alternate rows')
def alternate(rng, shape):
    frame = exposed(rng, np.full(shape, 200.0), 1.0, 6.0, blank=200.0)
    frame.values[::2] += frame.level
    frame.white = False
    frame.notes['lines'] = 0
    frame.truth = None  # half of the rows is as true as the other
    return frame


def _resampled(rng, shape, kernel_y, kernel_x, per_mpix=300):
    """A frame whose pixels are sums of others along both axes."""
    frame = exposed(rng, 200 + stars(rng, shape, per_mpix, 3.0), 1.0, 6.0,
                    blank=200.0, fwhm=3.0)
    for axis, kernel in enumerate((kernel_y, kernel_x)):
        frame.values, frame.truth = (
            ndimage.correlate1d(plane, kernel, axis=axis, mode='wrap')
            for plane in (frame.values, frame.truth))
    kernels = [np.asarray(kernel, float) for kernel in (kernel_y, kernel_x)]
    power = [np.sum(kernel**2) for kernel in kernels]
    frame.level *= np.sqrt(power[0] * power[1])
    rho = [np.sum(kernel[1:] * kernel[:-1]) / square
           for kernel, square in zip(kernels, power, strict=True)]
    frame.rho = float(max(rho, key=abs))
    frame.white, frame.sigma, frame.fwhm = False, None, None
    return frame


@several('resampled, bilinear {}', {'0.1': 0.1, '0.25': 0.25, '0.5': 0.5})
def bilinear(rng, shape, shift):
    return _resampled(rng, shape, [1 - shift, shift], [1 - shift / 2,
                                                       shift / 2])


@kind('resampled, Lanczos-3')
def lanczos(rng, shape):
    along = np.arange(-2, 4) - 0.4
    kernel = np.sinc(along) * np.sinc(along / 3)
    kernel /= kernel.sum()
    return _resampled(rng, shape, kernel, kernel)


@kind('resampled, bilinear on the crowded')
def bilinear_crowded(rng, shape):
    return _resampled(rng, shape, [0.7, 0.3], [0.8, 0.2], 6000)


@kind('smoothed (Gaussian, 1 px)')
def smoothed(rng, shape):
    kernel = np.exp(-0.5 * np.arange(-4, 5)**2)
    return _resampled(rng, shape, kernel / kernel.sum(),
                      kernel / kernel.sum())


@kind('negative correlation (-0.3 along x)')
def negative(rng, shape):
    return _resampled(rng, shape, [1.0], [1.0, -0.35])


@kind('drizzled')
def drizzled(rng, shape):
    """Four exposures dropped on a grid twice as fine, drops of 0.8."""
    total, weight = np.zeros(shape), np.zeros(shape)
    square, truth = np.zeros(shape), np.zeros(shape)
    half = [-(-n // 2) + 2 for n in shape]
    light = stars(rng, tuple(half), 1200, 2.5)
    for _ in range(4):
        shift = rng.uniform(0, 2, 2)
        exposure = light + 20 * rng.standard_normal(half)
        planes = [_dropped(n, m, s) for n, m, s in
                  zip(shape, half, shift, strict=True)]
        total += planes[0] @ exposure @ planes[1].T
        truth += planes[0] @ light @ planes[1].T
        weight += planes[0].sum(1)[:, None] * planes[1].sum(1)
        square += (planes[0]**2).sum(1)[:, None] * (planes[1]**2).sum(1)
    sigma = 20 * np.sqrt(square) / np.maximum(weight, 1e-6)
    weight = np.maximum(weight, 1e-6)
    return ZooFrame(total / weight,
                    float(np.sqrt(np.mean(sigma[4:-4, 4:-4]**2))),
                    real=weight > 1e-3, white=False, rho=0.5,
                    truth=truth / weight)


def _dropped(n_out, n_in, shift):
    """Overlap of drops of 1.6 fine pixels with a fine grid."""
    center = 2 * (np.arange(n_in) - 0.5) + shift
    low = np.arange(n_out)[:, None] - 0.5
    overlap = (np.minimum(low + 1, center + 0.8)
               - np.maximum(low, center - 0.8))
    return np.clip(overlap, 0, None)


# Shapes

@kind('tiny (64 x 64)')
def tiny(rng, shape):
    return survey(rng, (64, 64), 3.0)


@kind('wide (64 x 4096)')
def wide(rng, shape):
    return survey(rng, (64, 4096), 3.0)


@kind('narrow (1024 x 40)')
def narrow(rng, shape):
    return survey(rng, (1024, 40), 3.0)


# Noise

@kind('noise with long tails (kurtosis 5)')
def long_tailed(rng, shape):
    # as of many CMOS cameras: some pixels are noisier from frame to frame
    frame = exposed(rng, 200.0 + stars(rng, shape, 300, 3.0), 1.0, 6.0,
                    blank=200.0, fwhm=3.0)
    wider = np.where(rng.random(shape) < 0.1, 2.5, 1.0)
    values = frame.truth + wider * (frame.values - frame.truth)
    more = np.sqrt(np.mean([2.5**2] + 9 * [1.0]))
    return ZooFrame(values, more * frame.level, more * frame.sigma,
                    truth=frame.truth, fwhm=3.0)
