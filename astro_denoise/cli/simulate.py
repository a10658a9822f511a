# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise simulate``.
"""


from ..io.output import atomic_output, check_output, make_folder
from .common import (
    add_command,
    add_overwrite,
    counted,
    tell_more,
    tell_result,
)

__all__ = ['add_simulate']


def add_simulate(commands):
    """
    Add the command that simulates exposures and skies.
    """
    parser = add_command(
        commands, 'simulate', _run_simulate,
        summary='Simulate exposures and their catalog.',
        usage='-o FOLDER [options]',
        example='-o field/ --n 5 --shape 1024 1024 --seed 1')
    add = parser.add_argument
    add('-o', '--output', required=True, metavar='FOLDER',
        help='for exposure_001.fits ... and catalog.ecsv')
    add('--n', type=int, default=2, metavar='N',
        help='number of exposures (default: 2)')
    add('--sky', choices=('survey', 'galactic-center'), default='survey',
        metavar='SKY', help='survey, or galactic-center: gamma-ray counts')
    add('--tier', choices=('fixed', 'legacy', 'realistic'), metavar='TIER',
        help='galactic-center: fixed, legacy or realistic')
    add('--shape', type=int, nargs=2, metavar=('NY', 'NX'),
        help='pixels (default: 4096 2048)')
    add('--seed', type=int, metavar='N', help='same seed, same exposures')
    add('--unit', choices=('adu', 'electron'), help='default: adu')
    for name, what in (('exposure-time', 'seconds'),
                       ('gain', 'electron/adu'),
                       ('read-noise', 'electron'),
                       ('sky-rate', 'electron per second and pixel'),
                       ('psf-fwhm', 'seeing in arcsec'),
                       ('density', 'sources per 10^6 pixels')):
        add(f'--{name}', type=float, metavar='X', help=what)
    add_overwrite(parser)


def _run_simulate(options):
    from ..frames.provenance import table_meta
    from ..simulation.survey import SurveySimulator

    names = ('shape', 'unit', 'exposure_time', 'gain', 'read_noise',
             'sky_rate', 'psf_fwhm', 'density')
    given = {name: getattr(options, name) for name in names
             if getattr(options, name) is not None}
    if options.n < 1:
        msg = f'--n must be at least 1, got {options.n}'
        raise ValueError(msg)
    if options.sky == 'galactic-center':
        if given:
            option = f'--{next(iter(given))}'.replace('_', '-')
            msg = f'{option} is not for --sky galactic-center'
            raise ValueError(msg)
        return _simulate_galactic_center(options)
    if options.tier:
        msg = f'--tier {options.tier} is for --sky galactic-center'
        raise ValueError(msg)
    simulator = SurveySimulator(**given)
    folder = make_folder(options.output, name='-o')
    paths = [folder / f'exposure_{number:03d}.fits'
             for number in range(1, options.n + 1)]
    catalog_path = folder / 'catalog.ecsv'
    for path in (*paths, catalog_path):
        check_output(path, overwrite=options.overwrite)
    exposures, catalog = simulator.exposures(options.n, seed=options.seed)
    for exposure, path in zip(exposures, paths, strict=True):
        with atomic_output(path, overwrite=options.overwrite) as temporary:
            exposure.to_hdu().writeto(temporary)
        tell_more(options, path)
    _add_apertures(catalog, exposures)
    catalog.meta.update(table_meta(), seed=options.seed, **given)
    with atomic_output(catalog_path,
                       overwrite=options.overwrite) as temporary:
        catalog.write(temporary, format='ascii.ecsv')
    tell_more(options, catalog_path)
    ny, nx = exposures[0].shape
    tell_result(options, f'{options.output}: '
                f'{counted(options.n, "exposure")} of {nx} x {ny} pixels, '
                f'and {catalog_path.name} with '
                f'{counted(len(catalog), "source")}')
    return 0


def _add_apertures(catalog, exposures):
    """
    Add apertures with 62.5 per cent of the light, for the mean seeing.
    """
    import numpy as np

    from ..photometry.light_fraction import light_fraction_apertures

    fwhm, beta = (np.mean([each.header[keyword] for each in exposures])
                  for keyword in ('SEEING', 'PSFBETA'))
    for name in 'xy':
        catalog[f'aperture_{name}'] = catalog[f'{name}_centroid']
    if len(catalog):
        apertures = light_fraction_apertures(
            catalog['r50'], catalog['sersic_n'], catalog['axis_ratio'],
            catalog['theta'], fwhm, psf_beta=beta)
        for name in apertures.colnames:
            catalog[name] = apertures[name]


def _simulate_galactic_center(options):
    """
    Write gamma-ray skies: images, parameters, and maps of the sources.
    """
    from astropy.io import fits

    from ..frames.provenance import table_meta
    from ..simulation.galactic_center import GalacticCenterSimulator

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
    tell_more(options, paths[0])
    parameters.meta.update(table_meta())
    with atomic_output(paths[1], overwrite=options.overwrite) as temporary:
        parameters.write(temporary, format='ascii.ecsv')
    tell_more(options, paths[1])
    tell_result(options, f'{options.output}: '
                f'{counted(options.n, "image")} of the Galactic Center in '
                f'{paths[0].name}, and {paths[1].name}')
    return 0
