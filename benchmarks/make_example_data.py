# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Cut the pair of example frames out of the full frames.

The full frames are the test data of ProperImage (3-clause BSD; see
``licenses/README.rst``): ``aligned_eso085-030-004.fit`` and
``aligned_eso085-030-005.fit``. Run as::

    python benchmarks/make_example_data.py FOLDER_OF_THE_FULL_FRAMES
    python benchmarks/make_example_data.py --m51 M51.fits

The second cuts the frame of M51 out of that of photutils-datasets.
"""

import argparse
import re
from pathlib import Path

from astropy.io import fits
from astropy.time import Time

from astro_denoise.data.examples import get_example_path

SOURCES = {
    'eso085_030_004.fits': 'aligned_eso085-030-004.fit',
    'eso085_030_005.fits': 'aligned_eso085-030-005.fit',
}
# The galaxy, about 120 stars, and no pixel of the frame's edge, where
# the alignment left a border.
X_ORIGIN, Y_ORIGIN, SIZE = 340, 190, 480


def crop_frame(source, target):
    """
    Write the crop of one frame, pixel values unchanged.

    Parameters
    ----------
    source, target : path-like
        The full frame, and the file to write.
    """
    with fits.open(source, do_not_scale_image_data=True) as hdus:
        stored = hdus[0].data[Y_ORIGIN:Y_ORIGIN + SIZE,
                              X_ORIGIN:X_ORIGIN + SIZE].copy()
        header = hdus[0].header.copy()

    # One long comment in two cards; the folders of the computer it was
    # written on tell nobody anything.
    comment = ''.join(header['COMMENT'])
    del header['COMMENT']
    header['BUNIT'] = ('adu', 'not in the original header')
    # Without it every reader that looks for a WCS warns that it added it.
    header['MJD-OBS'] = (Time(header['DATE-OBS']).mjd, 'from DATE-OBS')
    header['ORIGFILE'] = (source.name, 'file this was cut from')
    header['CROPX0'] = (X_ORIGIN + 1, 'first column (of 1024) of the crop')
    header['CROPY0'] = (Y_ORIGIN + 1, 'first row (of 682) of the crop')
    header.add_comment(re.sub(r'/\S*/', '', comment))
    header.add_comment('ProperImage test data, 3-clause BSD, '
                       'Copyright (c) 2016 TOROS')

    hdu = fits.PrimaryHDU(header=header, do_not_scale_image_data=True)
    hdu.data = stored
    # Assigning the stored integers drops their zero point.
    hdu.header.set('BSCALE', 1, before='BUNIT')
    hdu.header.set('BZERO', 32768, before='BUNIT')
    hdu.writeto(target, overwrite=True, output_verify='exception')


def crop_m51(source, target):
    """
    Write the inner part of the frame of M51, pixel values unchanged.

    Parameters
    ----------
    source, target : path-like
        The full frame, and the file to write.
    """
    with fits.open(source) as hdus:
        data, original = hdus[0].data[100:420, 80:400].copy(), hdus[0].header
    header = fits.Header()
    header['BUNIT'] = ('adu', 'not in the original header')
    header['OBJECT'] = 'm51  B  600s'
    header['EXPTIME'] = (original['ITIME'], 'ITIME')
    header['DATE-OBS'] = ('1987-04-05', 'DATE-OBS 05/04/87')
    header['MJD-OBS'] = (Time('1987-04-05').mjd, 'from DATE-OBS')
    header['ORIGFILE'] = (Path(source).name, 'file this was cut from')
    header['CROPX0'] = (81, 'first column (of 512) of the crop')
    header['CROPY0'] = (101, 'first row (of 512) of the crop')
    header.add_comment('photutils-datasets, 3-clause BSD, Copyright (c) '
                       'Photutils Developers')
    fits.PrimaryHDU(data, header).writeto(target, overwrite=True)


def main(args=None):
    """Cut the frames."""
    parser = argparse.ArgumentParser(
        description='Cut the pair of example frames out of the full frames.')
    parser.add_argument('folder', type=Path, nargs='?',
                        help='folder that holds the full frames')
    parser.add_argument('--m51', metavar='FILE', help='the frame of M51')
    options = parser.parse_args(args)
    folder = options.folder
    if options.m51:
        crop_m51(options.m51, get_example_path('m51.fits'))
    for name, source in SOURCES.items() if folder else ():
        target = get_example_path(name)
        crop_frame(folder / source, target)
        print(f'{target.name}: {target.stat().st_size} bytes')


if __name__ == '__main__':
    main()
