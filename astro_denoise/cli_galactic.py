# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The commands ``astro-denoise segment`` and ``astro-denoise estimate``, and
the gamma-ray skies of ``astro-denoise simulate``.
"""

import argparse
from pathlib import Path

from astro_denoise._output import (
    FITS_ENDINGS,
    atomic_output,
    check_output,
    make_folder,
)
from astro_denoise.cli import (
    _add_command,
    _add_overwrite,
    _add_progress,
    _check_outputs,
    _hdu,
    _shows_progress,
)

__all__ = ['add_estimate', 'add_segment', 'simulate_galactic_center']


def add_segment(commands):
    """
    Add the command that finds point sources.
    """
    parser = _add_command(
        commands, 'segment', _run_segment,
        summary='Find the point sources of a FITS image.',
        usage='IN -o OUT.fits [options]',
        example='counts.fits -o sources.fits --catalog sources.ecsv')
    add = parser.add_argument
    add('input', metavar='IN', help=argparse.SUPPRESS)
    add('-o', '--output', required=True, metavar='OUT',
        help='probability, segmentation and catalogue, .fits')
    add('--catalog', metavar='FILE', help='the catalogue, .ecsv')
    add('--plot', metavar='PLOT', help='map with sources, .png')
    add('--model', default='galactic-center', metavar='NAME',
        help='name or .safetensors file (default: galactic-center)')
    add('--threshold', type=float, metavar='P',
        help='probability (default: the one of the model)')
    add('--n-pixels', type=int, default=1, metavar='N',
        help='pixels that a source must have (default: 1)')
    add('--mask', metavar='FILE', help='FITS file, not 0 on bad pixels')
    add('--hdu', type=_hdu, metavar='HDU',
        help='the image: a number, NAME or NAME,VERSION')
    add('--device', metavar='NAME', help='cpu or cuda (default: by itself)')
    _add_overwrite(parser)
    _add_progress(parser)


def _run_segment(options):
    from astropy.io import fits

    from astro_denoise import segment_point_sources
    from astro_denoise._fits_images import read_image

    _check_outputs(options, (('-o', options.output, FITS_ENDINGS),
                             ('--catalog', options.catalog, ('.ecsv',)),
                             ('--plot', options.plot, ('.png',))))
    image = read_image(Path(options.input), hdu=options.hdu,
                       mask=options.mask)
    if image.data.ndim != 2:
        msg = (f'{options.input}: the image must have shape (ny, nx), got '
               f'{image.data.shape}')
        raise ValueError(msg)
    sources = _without_warning(
        segment_point_sources, image, options.model,
        threshold=options.threshold, n_pixels=options.n_pixels,
        device=options.device, progress_bar=_shows_progress(options))
    header = (fits.Header() if image.wcs is None
              else image.wcs.to_header(relax=True))
    header['THRESH'] = (sources.threshold, 'probability of source pixels')
    header['MODEL'] = (options.model if len(options.model) < 60
                       else Path(options.model).name, 'astro_denoise model')
    hdus = fits.HDUList([
        fits.PrimaryHDU(sources.probability.data, header)])
    n = 0
    if sources.catalog is not None:
        n = len(sources.catalog)
        hdus.append(fits.ImageHDU(sources.segmentation.data, header,
                                  name='SEGMENTATION'))
        hdus.append(fits.BinTableHDU(_flat(sources.catalog), name='CATALOG'))
        if options.catalog:
            with atomic_output(options.catalog,
                               overwrite=options.overwrite) as temporary:
                sources.catalog.write(temporary, format='ascii.ecsv')
    with atomic_output(options.output,
                       overwrite=options.overwrite) as temporary:
        hdus.writeto(temporary)
    if options.plot:
        with atomic_output(options.plot,
                           overwrite=options.overwrite) as temporary:
            sources.plot().savefig(temporary, format='png', dpi=150)
    where = ' (no catalogue written)' if n == 0 and options.catalog else ''
    print(f'{options.output}: {n} sources{where}')
    return 0


def _flat(catalog):
    """A catalogue that FITS can hold: sky positions as two columns."""
    from astropy.table import QTable

    table = QTable()
    for name in catalog.colnames:
        if name == 'sky_centroid':
            sky = catalog[name].icrs
            table['ra'], table['dec'] = sky.ra, sky.dec
        else:
            table[name] = catalog[name]
    return table


def _without_warning(function, *args, **options):
    """Call a function; what it has to tell is told in other ways."""
    import warnings

    from photutils.utils.exceptions import NoDetectionsWarning

    with warnings.catch_warnings():
        warnings.simplefilter('ignore', NoDetectionsWarning)
        return function(*args, **options)


def add_estimate(commands):
    """
    Add the command that estimates parameters.
    """
    parser = _add_command(
        commands, 'estimate', _run_estimate,
        summary='Estimate what images of the Galactic Centre are made of.',
        usage='IN... -o OUT.ecsv [options]',
        example='counts.fits -o parameters.ecsv --seed 1')
    add = parser.add_argument
    add('inputs', nargs='+', metavar='IN', help=argparse.SUPPRESS)
    add('-o', '--output', required=True, metavar='OUT',
        help='the parameters, a row for each image, .ecsv')
    add('--samples', metavar='FILE', help='samples of the posterior, .fits')
    add('--model', default='galactic-center', metavar='NAME',
        help='name or .safetensors file (default: galactic-center)')
    add('--n-samples', type=int, default=2000, metavar='N',
        help='samples of the posterior (default: 2000)')
    add('--seed', type=int, metavar='N', help='same seed, same samples')
    add('--hdu', type=_hdu, metavar='HDU',
        help='the image: a number, NAME or NAME,VERSION')
    add('--device', metavar='NAME', help='cpu or cuda (default: by itself)')
    _add_overwrite(parser)
    _add_progress(parser)


def _run_estimate(options):
    import warnings

    import numpy as np
    from astropy.io import fits
    from astropy.table import vstack

    from astro_denoise import estimate_parameters, load_model
    from astro_denoise._fits_images import read_image
    from astro_denoise.estimation import PARAMETER_NAMES
    from astro_denoise.exceptions import UnusualImageWarning

    _check_outputs(options, (('-o', options.output, ('.ecsv',)),
                             ('--samples', options.samples, FITS_ENDINGS)))
    model = load_model(options.model, task='estimate')
    tables, samples = [], []
    for path in options.inputs:
        image = read_image(Path(path), hdu=options.hdu)
        try:
            with warnings.catch_warnings():
                # Flagged in the table, and told below.
                warnings.simplefilter('ignore', UnusualImageWarning)
                result = estimate_parameters(
                    image, model, n_samples=options.n_samples,
                    seed=options.seed, device=options.device,
                    return_samples=options.samples is not None,
                    progress_bar=_shows_progress(options))
        except (ValueError, TypeError) as error:
            msg = f'{path}: {error}'
            raise ValueError(msg) from error
        if options.samples is not None:
            result, drawn = result
            samples.append(drawn)
        result.add_column(np.arange(len(result)), name='image', index=0)
        result.add_column(path, name='file', index=0)
        tables.append(result)
    table = vstack(tables, metadata_conflicts='silent')
    with atomic_output(options.output,
                       overwrite=options.overwrite) as temporary:
        table.write(temporary, format='ascii.ecsv')
    if options.samples is not None:
        header = fits.Header()
        for number, name in enumerate(PARAMETER_NAMES, 1):
            header[f'PARAM{number}'] = name
        with atomic_output(options.samples,
                           overwrite=options.overwrite) as temporary:
            fits.PrimaryHDU(np.concatenate(samples), header).writeto(
                temporary)
    flagged = ''
    if 'ood_flag' in table.colnames:
        flagged = (f', {np.sum(table["ood_flag"])} of them unlike the '
                   f'training set')
    print(f'{options.output}: {len(table)} images{flagged}')
    return 0


def simulate_galactic_center(options):
    """
    Write gamma-ray skies: images, parameters, and maps of the sources.
    """
    from astropy.io import fits

    from astro_denoise.photometry.tables import table_meta
    from astro_denoise.simulation import GalacticCenterSimulator

    simulator = GalacticCenterSimulator(options.tier or 'fixed')
    folder = make_folder(options.output, name='-o')
    paths = folder / 'images.fits', folder / 'parameters.ecsv'
    for path in paths:
        check_output(path, overwrite=options.overwrite)
    images, parameters, sources = simulator.sample(options.n,
                                                   seed=options.seed)
    header = simulator.wcs.to_header()
    header['BUNIT'] = 'ct'
    hdus = fits.HDUList([fits.PrimaryHDU(images, header)])
    for name, plane in sources.items():
        hdus.append(fits.ImageHDU(plane, header, name=f'FLUX_{name}'.upper()))
    with atomic_output(paths[0], overwrite=options.overwrite) as temporary:
        hdus.writeto(temporary)
    print(paths[0])
    parameters.meta.update(table_meta())
    with atomic_output(paths[1], overwrite=options.overwrite) as temporary:
        parameters.write(temporary, format='ascii.ecsv')
    print(paths[1])
    return 0
