# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Warnings and errors of the package.
"""

import contextlib
import warnings

from astropy.utils.exceptions import AstropyUserWarning

__all__ = ['CompanionWarning', 'CorrelatedNoiseWarning', 'CountsWarning',
           'NoDataWarning', 'NoiseEstimateWarning', 'ProcessedFrameWarning',
           'SkippedImageWarning', 'TrainingScoreWarning',
           'UnusualImageWarning', 'WeightsError', 'WeightsWarning']


class CompanionWarning(AstropyUserWarning):
    """
    A mask, uncertainty or weight map is not used, or may mean something else.
    """


class NoiseEstimateWarning(AstropyUserWarning):
    """
    The noise of a frame is not what it should be, or cannot be estimated.
    """


class CorrelatedNoiseWarning(AstropyUserWarning):
    """
    The noise of neighboring pixels is correlated.
    """


class CountsWarning(AstropyUserWarning):
    """
    An image that should hold counts holds something else.
    """


class NoDataWarning(AstropyUserWarning):
    """
    Pixels of a frame hold no measurement, though nobody says so.
    """


class ProcessedFrameWarning(AstropyUserWarning):
    """
    A frame is not raw: it was denoised before.
    """


class SkippedImageWarning(AstropyUserWarning):
    """
    Images of a file that may be of the sky are left as they are.
    """


class TrainingScoreWarning(AstropyUserWarning):
    """
    A trained model is no better than what is at hand, or is scored wrongly.
    """


class UnusualImageWarning(AstropyUserWarning):
    """
    An image is unlike those that a model was trained on.
    """


class WeightsError(ValueError):
    """
    A file of weights is not what it should be.
    """


class WeightsWarning(AstropyUserWarning):
    """
    A file of weights that came with the package cannot be used.
    """


# Not in ``__all__``, which is the public part.
@contextlib.contextmanager
def needs_extra(extra, purpose):
    """
    Name the package and the extra if an import of an optional one fails.

    Parameters
    ----------
    extra : str
        The extra of this package that installs what is imported.

    purpose : str
        Completes the sentence "X is needed".

    Raises
    ------
    ModuleNotFoundError
        If a package that is imported in the context is not installed.

    Examples
    --------
    >>> from astro_denoise.exceptions import needs_extra
    >>> with needs_extra('plot', 'to draw figures'):
    ...     import no_such_package
    Traceback (most recent call last):
    ...
    ModuleNotFoundError: no_such_package is needed to draw figures: pip ...
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or 'a package').partition('.')[0]
        msg = (f"{package} is needed {purpose}: pip install "
               f"'astro_denoise[{extra}]'")
        raise ModuleNotFoundError(msg, name=error.name) from error


@contextlib.contextmanager
def warnings_of(path):
    """
    Add the name of a file to what is warned of while it is worked on.

    It stands at the end of the message, so that filters still match.

    Parameters
    ----------
    path : str or path-like
        The file.

    Examples
    --------
    >>> import warnings
    >>> from astro_denoise.exceptions import NoDataWarning, warnings_of
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter('always')
    ...     with warnings_of('m13.fits'):
    ...         warnings.warn('nothing there', NoDataWarning)
    >>> print(caught[0].message)
    nothing there (m13.fits)
    """
    caught = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            yield
    finally:
        for each in caught:
            warnings.warn(f'{each.message} ({path})', each.category,
                          stacklevel=3)
