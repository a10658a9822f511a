# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The header card that holds the restoring kernel of a denoised frame.
"""

import base64
import binascii

import numpy as np

__all__ = ['FAINT', 'KERNEL_CARD', 'kernel_from_text', 'kernel_to_text']

#: The keyword; its long value takes several cards in a file.
KERNEL_CARD = 'DNKERNEL'

#: Square of the signal, in sigmas of a pixel, from which on a network with
#: such a kernel is believed.
FAINT = 4.0

_TYPE = np.dtype('<f2')


def kernel_to_text(kernel):
    """
    Write a kernel as text.

    Parameters
    ----------
    kernel : 2D `~numpy.ndarray`
        Square, of odd size, and the same under all rotations by 90
        degrees and reflections.

    Returns
    -------
    text : str
        One octant in half precision, in base 64.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.frames.kernel_card import kernel_to_text
    >>> kernel_to_text(np.ones((3, 3)) / 9)
    'HC8cLxwv'
    """
    half = kernel.shape[0] // 2
    octant = kernel[half:, half:][np.triu_indices(half + 1)]
    return base64.b64encode(octant.astype(_TYPE).tobytes()).decode('ascii')


def kernel_from_text(text):
    """
    Read the kernel that `kernel_to_text` wrote.

    Parameters
    ----------
    text : str
        The value of the card.

    Returns
    -------
    kernel : 2D `~numpy.ndarray`
        The kernel.

    Raises
    ------
    ValueError
        If the text holds no kernel.

    Examples
    --------
    >>> from astro_denoise.frames.kernel_card import kernel_from_text
    >>> kernel_from_text('HC8cLxwv').round(2)
    array([[0.11, 0.11, 0.11],
           [0.11, 0.11, 0.11],
           [0.11, 0.11, 0.11]])
    """
    try:
        octant = np.frombuffer(base64.b64decode(text, validate=True), _TYPE)
    except (TypeError, ValueError, binascii.Error) as error:
        msg = f'{KERNEL_CARD} must be base 64 of a kernel, got {text!r}'
        raise ValueError(msg) from error
    half = int((np.sqrt(8 * len(octant) + 1) - 1) / 2) - 1
    if half < 0 or (half + 1) * (half + 2) // 2 != len(octant):
        msg = (f'{KERNEL_CARD} must hold the octant of a kernel, got '
               f'{len(octant)} numbers')
        raise ValueError(msg)
    quarter = np.zeros((half + 1, half + 1))
    quarter[np.triu_indices(half + 1)] = octant
    quarter += np.triu(quarter, 1).T
    line = np.abs(np.arange(-half, half + 1))
    return quarter[np.ix_(line, line)]
