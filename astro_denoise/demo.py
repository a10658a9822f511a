# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The main job on a real pair of exposures, with the figures that tell
whether it was done well.
"""

import time
from dataclasses import dataclass

import numpy as np
from astropy.nddata import CCDData
from astropy.stats import mad_std
from astropy.table import QTable
from scipy import ndimage

from .data.examples import get_example_path, load_example_pair
from .io.output import atomic_output, check_output, make_folder
from .pipeline.one_file import denoise_file

__all__ = ['DemoReport', 'run_demo']

_NAMES = ('eso085_030_004.fits', 'eso085_030_005.fits')

# Counts from which on the sensor of the example frames is not linear.
_SATURATION = 60000.0

# Ranges of the signal-to-noise ratio in one exposure. The errors hold no
# photon noise of the sources, so that they are too small above some 10.
_SNR_BINS = ((10.0, np.inf), (3.0, 10.0))


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

    noise_before, noise_after : float
        Robust standard deviation of the blank sky in adu, the root mean
        square of both exposures.

    table : `~astropy.table.QTable`
        A row for each range of the signal-to-noise ratio: its ends
        ``snr_low`` and ``snr_high``, the number of sources ``n``, the
        ``flux_ratio`` denoised to raw (median) and the ``response`` with
        their errors, and the sigma68 of the normalized differences of
        the pair ``sigma68_raw`` and ``sigma68_denoised``.

    seconds : float
        Time to denoise both frames, reading and writing included, with
        the model loaded.

    paths : list of `~pathlib.Path`
        The files written.

    Examples
    --------
    >>> from astropy.table import QTable
    >>> from astro_denoise.demo import DemoReport
    >>> report = DemoReport('ccd', (480, 480), 10.0, 4.0, QTable(), 0.9, [])
    >>> print(str(report).splitlines()[0])
    ESO 085-030, two exposures of 480 x 480 pixels, model ccd
    """

    model: str
    shape: tuple
    noise_before: float
    noise_after: float
    table: QTable
    seconds: float
    paths: list

    def __str__(self):
        ny, nx = self.shape
        factor = self.noise_before / self.noise_after
        rows = ''.join(map(_row_text, self.table))
        paths = '\n'.join(f'wrote {path}' for path in self.paths)
        return f"""\
ESO 085-030, two exposures of {nx} x {ny} pixels, model {self.model}

  noise of the blank sky   {self.noise_before:.1f} -> \
{self.noise_after:.1f} adu, {factor:.1f} times less
  time for both frames     {self.seconds:.1f} s

                     flux ratio       response       sigma68 of df
  S/N     sources  denoised/raw              R     raw  denoised  denoised/R
{rows}
  df is the difference of the two fluxes of a source in units of their raw
  errors. Its scatter after denoising may be compared with that of the raw
  fluxes as far as the response R is 1, or else divided by R.

{paths}"""


def _row_text(row):
    """
    One line of the table of the report.
    """
    low, high = row['snr_low'], row['snr_high']
    name = f'{low:g}-{high:g}' if np.isfinite(high) else f'> {low:g}'
    corrected = row['sigma68_denoised'] / row['response']
    return (f'  {name:7s}{row["n"]:8d} '
            f'{row["flux_ratio"]:.3f} ± {row["flux_ratio_error"]:.3f}  '
            f'{row["response"]:.3f} ± {row["response_error"]:.3f}    '
            f'{row["sigma68_raw"]:.2f}      {row["sigma68_denoised"]:.2f}'
            f'        {corrected:.2f}\n')


def run_demo(output='.', *, model='ccd', overwrite=False,
             progress_bar=False, quiet=False):
    """
    Denoise the example frames and measure what became of them.

    Writes both denoised frames and a picture of one before and after,
    and prints a short report. All its figures are measured on the files
    written.

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
    >>> report.noise_after < report.noise_before
    True
    """
    from .denoising.plots import plot_denoised
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

    raw = load_example_pair()
    denoised = [CCDData.read(path) for path in paths]
    noise, (fwhm, _) = zip(*map(_measure, raw), strict=True)
    figure = plot_denoised(raw[0], denoised[0], uncertainty=noise[0].noise_map)
    with atomic_output(picture, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format='png', dpi=150)

    catalog, blank = _detect(raw[0], noise[0], fwhm)
    before, after = (
        float(np.sqrt(np.mean([
            mad_std((ccd.data - model.background)[blank])**2
            for ccd, model in zip(frames, noise, strict=True)])))
        for frames in (raw, denoised))
    report = DemoReport(
        model=model.name, shape=raw[0].shape, noise_before=before,
        noise_after=after, table=_compare(raw, denoised, noise, catalog),
        seconds=seconds, paths=[*paths, picture])
    if not quiet:
        print(report)
    return report


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


def _compare(raw, denoised, noise, catalog):
    """
    Fluxes of the sources in both exposures, raw and denoised.
    """
    from .photometry.apertures import annulus_photometry
    from .photometry.calibration import (
        bootstrap_error,
        normalized_difference,
        sigma68,
    )
    from .photometry.response import flux_response

    def measure(frames):
        tables = [annulus_photometry(ccd.data, catalog, error=model.noise_map,
                                     saturation=_SATURATION)
                  for ccd, model in zip(frames, noise, strict=True)]
        return (np.array([table['flux'] for table in tables]),
                np.array([table['flux_error'] for table in tables]),
                np.array([table['flag'] for table in tables]))

    flux, error, flag = measure(raw)
    flux_denoised = measure(denoised)[0]
    # Selected on the first exposure alone, so that the noise of the second
    # has no part in it.
    snr = flux[0] / error[0]
    good = np.all((flag == 0) & np.isfinite(flux), axis=0)
    bright = good & (snr > 20)
    # The exposures differ in transparency: one zero point for both kinds.
    zeropoint = np.array([[1.0], [np.median(flux[0, bright]
                                            / flux[1, bright])]])
    flux, error, flux_denoised = (
        values * zeropoint for values in (flux, error, flux_denoised))
    rows = []
    for low, high in _SNR_BINS:
        here = good & (snr > low) & (snr <= high)
        ratio = flux_denoised[1, here] / flux[1, here]
        response = flux_response(flux_denoised[:, here].T, flux[:, here].T,
                                 seed=0)
        scatter = [sigma68(normalized_difference(
            values[0, here], error[0, here], values[1, here],
            error[1, here])) for values in (flux, flux_denoised)]
        rows.append((low, high, int(here.sum()), np.median(ratio),
                     bootstrap_error(np.median, ratio, seed=0), *response,
                     *scatter))
    return QTable(rows=rows, names=(
        'snr_low', 'snr_high', 'n', 'flux_ratio', 'flux_ratio_error',
        'response', 'response_error', 'sigma68_raw', 'sigma68_denoised'))
