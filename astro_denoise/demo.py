# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The main job on a real pair of exposures, with the figures that tell
whether it was done well.
"""

import time
import warnings
from dataclasses import dataclass

import numpy as np
from astropy.nddata import CCDData
from astropy.stats import mad_std
from astropy.table import QTable
from scipy import ndimage

from .data.examples import get_example_path, load_example_pair
from .io.output import atomic_output, check_output, make_folder
from .pipeline.one_file import denoise_file

__all__ = ['Comparison', 'DemoReport', 'compare_methods', 'plot_methods',
           'run_demo']

_NAMES = ('eso085_030_004.fits', 'eso085_030_005.fits')

# Counts from which on the sensor of the example frames is not linear.
_SATURATION = 60000.0

# Ranges of the signal-to-noise ratio in one exposure. The errors hold no
# photon noise of the sources, so that they are too small above some 10.
_SNR_BINS = ((3.0, 10.0), (10.0, np.inf))

# The filter that one would take instead, in pixels.
_WIDTH = 1.2

# A part of the frame with the galaxy and with sources of all kinds.
_WINDOW = np.s_[100:230, 90:220]


@dataclass
class DemoReport:
    """
    Figures that `run_demo` measured; ``str()`` of it is for a terminal.

    Parameters
    ----------
    model : str
        The name of the model.

    shape : tuple of int
        The shape of a frame.

    table : `~astropy.table.QTable`
        A row for each method and range of the signal-to-noise ratio
        (``snr_low`` to ``snr_high``): the ``noise`` of the blank sky in
        units of that of the frame, the number of sources ``n``, the
        ``flux_kept`` (median ratio to the raw flux) and the ``response``
        with their errors, the ``scatter`` of the difference of the pair in
        units of the raw errors over the response, and the share
        ``covered`` of these differences within the stated errors, with its
        error.

    noise : float
        Robust standard deviation of the blank sky of the frames in adu,
        the root mean square of both exposures.

    seconds : float
        Time to denoise both frames, reading and writing included, with
        the model loaded.

    paths : list of `~pathlib.Path`
        The files written.

    Examples
    --------
    >>> from astropy.table import QTable
    >>> from astro_denoise.demo import DemoReport
    >>> report = DemoReport('ccd', (480, 480), QTable(), 75.0, 0.9, [])
    >>> print(str(report).splitlines()[0])
    ESO 085-030, two exposures of 480 x 480 pixels, model ccd
    """

    model: str
    shape: tuple
    table: QTable
    noise: float
    seconds: float
    paths: list

    def __str__(self):
        ny, nx = self.shape
        blocks = ''.join(map(self._block, _SNR_BINS if len(self.table)
                             else ()))
        paths = '\n'.join(f'wrote {path}' for path in self.paths)
        return f"""\
ESO 085-030, two exposures of {nx} x {ny} pixels, model {self.model}
noise of the blank sky {self.noise:.1f} adu; both denoised in \
{self.seconds:.1f} s

                    noise    flux kept     response R  scatter  covered
{blocks}
noise    of the blank sky, over that of the frame
flux     median flux in apertures over that in the frame
R        slope of fluxes against those of the frame, 1 if none is lost
scatter  of the two fluxes of a source, in units of their raw errors, over R
covered  pairs of fluxes that differ by less than the error stated, 68 % if
         errors are right; above S/N 10 they lack the photons of the source

{paths}"""

    def _block(self, snr):
        """
        The lines of one range of the signal-to-noise ratio.
        """
        low, high = snr
        name = f'{low:g} to {high:g}' if np.isfinite(high) else f'> {low:g}'
        rows = self.table[self.table['snr_low'] == low]
        return f'S/N {name}: {rows["n"][0]} sources\n' + ''.join(
            f'  {row["method"]:16s} {row["noise"]:6.2f}   '
            f'{row["flux_kept"]:.2f} ± {row["flux_kept_error"]:.2f}   '
            f'{row["response"]:.2f} ± {row["response_error"]:.2f}   '
            f'{row["scatter"]:6.2f}   {100 * row["covered"]:3.0f} ± '
            f'{100 * row["covered_error"]:.0f} %\n'
            for row in rows)


def run_demo(output='.', *, model='ccd', overwrite=False,
             progress_bar=False, quiet=False):
    """
    Denoise the example frames and measure what became of them.

    Writes both denoised frames and a picture of one of them beside a
    Gaussian filter, and prints a table: the frame, the filter, what was
    denoised, and what was denoised with a catalog of the sources. All
    figures are measured on the frames.

    Parameters
    ----------
    output : str or path-like, optional
        The folder for the files; it is made if it does not exist.

    model : str, path-like or model object, optional
        As for `astro_denoise.denoise`.

    overwrite : bool, optional
        Whether to replace files that exist.

    progress_bar : bool, optional
        Whether to show a progress bar.

    quiet : bool, optional
        Whether to print nothing.

    Returns
    -------
    report : `DemoReport`
        What is printed.

    Raises
    ------
    FileExistsError
        If a file exists and ``overwrite`` is `False`.

    OSError
        If a file cannot be written.

    ValueError
        If there is no such model, or the folder has the name of a file.

    Examples
    --------
    >>> import tempfile
    >>> from astro_denoise.demo import run_demo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     # doctest: +IGNORE_OUTPUT, +IGNORE_WARNINGS
    ...     report = run_demo(folder)
    >>> print(report.table['method'][::2].tolist())
    ['frame', 'Gaussian filter', 'denoise', 'with a catalog']
    """
    from .models.registry import load_model

    model = load_model(model, task='denoise')
    folder = make_folder(output, name='output')
    paths = [folder / name.replace('.fits', '_denoised.fits')
             for name in _NAMES]
    picture = folder / 'eso085_030_before_after.png'
    for path in (*paths, picture):
        check_output(path, overwrite=overwrite)
    start = time.perf_counter()
    for name, path in zip(_NAMES, paths, strict=True):
        denoise_file(get_example_path(name), path, model=model,
                     overwrite=overwrite, progress_bar=progress_bar)
    seconds = time.perf_counter() - start

    found = compare_methods(model, [CCDData.read(path) for path in paths])
    with atomic_output(picture, overwrite=overwrite) as temporary:
        found.plot().savefig(temporary, format='png', dpi=150)
    report = DemoReport(
        model=model.name, shape=found.noise_map.shape, table=found.table,
        noise=found.noise, seconds=seconds, paths=[*paths, picture])
    if not quiet:
        print(report)
    return report


@dataclass
class Comparison:
    """
    Methods on the example pair, as `compare_methods` returns them.

    Parameters
    ----------
    frames : dict of list of `~astropy.nddata.CCDData`
        The two exposures, by the name of the method.

    table : `~astropy.table.QTable`
        As in `DemoReport`.

    noise : float
        As in `DemoReport`.

    noise_map : 2D `~numpy.ndarray`
        Noise of the first exposure.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.demo import Comparison
    >>> found = Comparison({}, QTable(), 75.0, np.ones((480, 480)))
    >>> found.noise
    75.0
    """

    frames: dict
    table: QTable
    noise: float
    noise_map: np.ndarray

    def plot(self, *, figure=None):
        """
        Plot a part of the first exposure; see `plot_methods`.

        Parameters
        ----------
        figure : `~matplotlib.figure.Figure`, optional
            Figure to draw in. By default, a new one.

        Returns
        -------
        figure : `~matplotlib.figure.Figure`
            The figure.
        """
        faint = self.table[self.table['snr_low'] == _SNR_BINS[0][0]]
        return plot_methods(
            {f'{row["method"]}\nnoise {row["noise"]:.2f}, flux kept '
             f'{row["flux_kept"]:.2f}': self.frames[row['method']][0]
             for row in faint}, self.noise_map, figure=figure)


def compare_methods(model, denoised):
    """
    Compare the example frames, a filter, and what was denoised.

    Parameters
    ----------
    model : `~astro_denoise.models.Model`
        The model, for denoising with a catalog too.

    denoised : list of `~astropy.nddata.CCDData`
        Both frames as the model leaves them.

    Returns
    -------
    comparison : `Comparison`
        Frames and figures.

    Examples
    --------
    >>> from astro_denoise import load_model
    >>> from astro_denoise.data import load_example_pair
    >>> from astro_denoise.demo import compare_methods
    >>> found = compare_methods(load_model('ccd'), load_example_pair())
    >>> print(found.table['noise'][found.table['method'] == 'denoise'][0])
    1.0
    """
    raw = load_example_pair()
    noise, (fwhm, _) = zip(*map(_measure, raw), strict=True)
    catalog, blank = _detect(raw[0], noise[0], fwhm)
    frames = {'frame': raw,
              'Gaussian filter': list(map(_filtered, raw)),
              'denoise': denoised,
              'with a catalog': [_guided(each, model, catalog)
                                 for each in raw]}
    sky = {name: float(np.sqrt(np.mean([
        mad_std((ccd.data - found.background)[blank])**2
        for ccd, found in zip(pair, noise, strict=True)])))
        for name, pair in frames.items()}
    table = _compare(frames, noise, catalog, blank)
    table.add_column([sky[name] / sky['frame'] for name in table['method']],
                     name='noise', index=1)
    return Comparison(frames, table, sky['frame'], noise[0].noise_map)


def _filtered(ccd):
    """
    A frame after the filter that one would take instead.
    """
    return CCDData(ndimage.gaussian_filter(ccd.data.astype(np.float32),
                                           _WIDTH), unit=ccd.unit)


def _guided(ccd, model, catalog):
    """
    A frame denoised with the catalog of its sources.
    """
    from .denoising.core import denoise

    sources = QTable({'x_centroid': catalog['aperture_x'],
                      'y_centroid': catalog['aperture_y']})
    with warnings.catch_warnings():
        # Told once, of the file.
        warnings.simplefilter('ignore')
        return denoise(ccd, 'ccd' if model.name == 'ccd-mmse' else model,
                       catalog=sources)


def plot_methods(frames, noise, *, window=_WINDOW, figure=None):
    """
    Plot a part of a frame as several methods leave it, and what they took.

    Parameters
    ----------
    frames : dict of `~astropy.nddata.CCDData`
        By the name of the method; the first is the frame as it is.

    noise : 2D `~numpy.ndarray`
        The noise of the frame.

    window : tuple of slice, optional
        Rows and columns to show.

    figure : `~matplotlib.figure.Figure`, optional
        Figure to draw in, best with ``layout='compressed'``. By default,
        a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        A column for each method: above the image, below what was taken
        from the frame, in units of its noise. There are no sources in it
        where a method keeps their light.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astro_denoise.demo import plot_methods
    >>> frame = CCDData(np.random.default_rng(1).normal(size=(300, 300)),
    ...                 unit='adu')
    >>> figure = plot_methods({'frame': frame, 'none': frame},
    ...                       np.ones((300, 300)))
    >>> print(figure.axes[1].get_title())
    none
    """
    from .frames.panels import figure_for, stretch_of

    raw = next(iter(frames.values())).data.astype(float)
    norm, _ = stretch_of(raw[window], float(np.median(noise)), 99.0)
    figure = figure_for(figure, 2.6 * len(frames), 5.5, layout='compressed')
    axes = figure.subplots(2, len(frames), squeeze=False)
    for column, (name, ccd) in zip(axes.T, frames.items(), strict=True):
        column[0].set_title(name)
        column[0].imshow(ccd.data[window], origin='lower', cmap='gray',
                         norm=norm, interpolation='nearest')
        taken = column[1].imshow(
            ((raw - ccd.data) / noise)[window], origin='lower', vmin=-3,
            vmax=3, cmap='RdBu_r', interpolation='nearest')
        for axis in column:
            axis.set(xticks=[], yticks=[])
    axes[0, 0].plot([6, 36], [6, 6], color='white', lw=2)
    axes[0, 0].text(6, 9, '30 pixels', color='white', fontsize=8)
    # Nothing was taken from the frame as it is: the place of the color bar.
    axes[1, 0].clear()
    axes[1, 0].set_axis_off()
    figure.colorbar(taken, cax=axes[1, 0].inset_axes([0.66, 0.06, 0.07, 0.88]),
                    label='taken away, in units of the noise')
    figure.axes[-1].yaxis.set(ticks_position='left', label_position='left')
    return figure


def _measure(ccd):
    """
    Noise and background of an example frame, and its seeing.
    """
    from .frames.inputs import open_frame
    from .noise.measurement import measure_plane

    measurement, whole = measure_plane(open_frame(ccd).plane(), keep=True)
    return whole, measurement.fwhm


def _detect(ccd, noise, fwhm):
    """
    Sources of a frame as a catalog of apertures, and its blank sky.
    """
    from photutils.segmentation import SourceCatalog, detect_sources

    values = ccd.data.astype(np.float32)
    # The matched filter of a point source, about.
    smooth = ndimage.gaussian_filter(
        (values - noise.background) / noise.noise_map, fwhm / 2.355)
    segmentation = detect_sources(smooth, 3.5 * mad_std(smooth), n_pixels=4)
    sources = SourceCatalog(smooth, segmentation)
    catalog = QTable()
    catalog['ref_id'] = sources.labels
    catalog['aperture_x'] = sources.x_centroid
    catalog['aperture_y'] = sources.y_centroid
    # Circles with 62.5 per cent of the light of a star.
    catalog['aperture_a'] = catalog['aperture_b'] = 0.72 * fwhm
    catalog['aperture_theta'] = 0.0
    blank = ~ndimage.binary_dilation(segmentation.data > 0,
                                     iterations=int(np.ceil(2.0 * fwhm)))
    return catalog, blank


def _compare(frames, noise, catalog, blank):
    """
    Fluxes of the sources in both exposures, for each method.
    """
    raw = _fluxes('frame', frames['frame'], noise, catalog, blank)
    # Selected on the first exposure alone, so that the noise of the second
    # has no part in it.
    snr = raw.flux[0] / raw.error[0]
    good = np.all((raw.flag == 0) & np.isfinite(raw.flux), axis=0)
    bright = good & (snr > 20)
    # The exposures differ in transparency: one zero point for all.
    zeropoint = np.array([[1.0], [np.median(raw.flux[0, bright]
                                            / raw.flux[1, bright])]])
    rows = []
    for name, pair in frames.items():
        found = _fluxes(name, pair, noise, catalog, blank)
        for low, high in _SNR_BINS:
            here = good & (snr > low) & (snr <= high)
            rows.append((name, low, high, int(here.sum()), *_figures(
                zeropoint * found.flux[:, here],
                zeropoint * found.error[:, here],
                zeropoint * raw.flux[:, here],
                zeropoint * raw.error[:, here])))
    return QTable(rows=rows, names=(
        'method', 'snr_low', 'snr_high', 'n', 'flux_kept', 'flux_kept_error',
        'response', 'response_error', 'scatter', 'covered', 'covered_error'))


@dataclass
class _Fluxes:
    """
    Fluxes of all sources in both exposures, their errors and flags.
    """

    flux: np.ndarray
    error: np.ndarray
    flag: np.ndarray


def _fluxes(method, pair, noise, catalog, blank):
    """
    Measure a pair; errors are what a user of the method would state.
    """
    from .photometry.apertures import annulus_photometry
    from .photometry.denoised_errors import denoised_flux_error

    tables = []
    for ccd, model in zip(pair, noise, strict=True):
        error = model.noise_map
        if method == 'Gaussian filter':
            error = np.full(ccd.shape, mad_std(
                (ccd.data - model.background)[blank]))
        tables.append(annulus_photometry(ccd.data, catalog, error=error,
                                         saturation=_SATURATION))
        if 'DNKERNEL' in ccd.meta:
            tables[-1]['flux_error'] = np.asarray(denoised_flux_error(
                ccd, catalog, annulus=(30.0, 45.0)))
    return _Fluxes(*(np.array([table[name] for table in tables])
                     for name in ('flux', 'flux_error', 'flag')))


def _figures(flux, error, raw, raw_error):
    """
    Flux kept, response, scatter and coverage of some sources.
    """
    from .photometry.calibration import (
        bootstrap_error,
        normalized_difference,
        sigma68,
    )
    from .photometry.response import flux_response

    ratio = flux[1] / raw[1]
    response = flux_response(flux.T, raw.T, seed=0)
    scatter = sigma68(normalized_difference(flux[0], raw_error[0], flux[1],
                                            raw_error[1])) / response[0]
    covered = np.mean(np.abs(flux[0] - flux[1]) < np.hypot(*error))
    return (np.median(ratio), bootstrap_error(np.median, ratio, seed=0),
            *response, scatter, covered,
            np.sqrt(covered * (1.0 - covered) / len(ratio)))
