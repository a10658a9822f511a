# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors of estimated parameters.
"""

import numpy as np
from astropy.table import QTable

from ..frames.provenance import table_meta
from .checks import finite_array

__all__ = ['parameter_errors', 'scale_parameters']

# Ends of the priors of the Galactic-Center simulator.
_PRIORS = {'a_dm': (0.0, 1.0), 'a_ic': (0.0, 1.0), 'a_pi0': (0.0, 1.0),
           'a_bubbles': (0.0, 1.0), 'n_ps_gc': (200.0, 800.0),
           'n_ps_disk': (1000.0, 4000.0), 'n_ps_total': (1200.0, 4800.0)}


def scale_parameters(values, name):
    """
    Scale a parameter of the Galactic Center to 0-1 over its prior.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The parameter.

    name : str
        Its name.

    Returns
    -------
    scaled : `~numpy.ndarray`
        ``(values - lower) / (upper - lower)``.

    Raises
    ------
    ValueError
        If there is no such parameter.

    Examples
    --------
    >>> from astro_denoise.evaluation import scale_parameters
    >>> print(scale_parameters(500.0, 'n_ps_gc'))
    0.5
    """
    if name not in _PRIORS:
        msg = f'name must be one of {sorted(_PRIORS)}, got {name!r}'
        raise ValueError(msg)
    lower, upper = _PRIORS[name]
    return (np.asarray(values, float) - lower) / (upper - lower)


def parameter_errors(estimated, truth, names=None):
    """
    Compute the errors of each parameter on the scale of its prior.

    Parameters
    ----------
    estimated, truth : `~astropy.table.Table` or mapping
        Columns named as the parameters, with a row per image.

    names : sequence of str, optional
        The parameters; `None` takes all of the Galactic Center's that
        both have.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per ``parameter``, all over the width of the prior: ``mae``
        (mean absolute error), its standard error ``mae_error`` (NaN for a
        single image), ``rmse``, ``bias`` (mean error); ``correlation``
        (NaN where nothing varies); and ``mae_of_maximum``, the mean
        absolute error in units of the upper end of the prior instead.
        ``table.meta`` holds ``n_images``, and ``version`` and ``date`` as
        all tables of the package.

    Raises
    ------
    ValueError
        If the tables are of different length, are empty, hold masked or
        non-finite values, or have no parameter in common.

    Examples
    --------
    >>> from astro_denoise.evaluation import parameter_errors
    >>> table = parameter_errors({'n_ps_gc': [310, 490]},
    ...                          {'n_ps_gc': [300, 500]})
    >>> print(f'{table["mae"][0]:.4f}')
    0.0167
    """
    if names is None:
        have = [set(getattr(part, 'colnames', part))
                for part in (estimated, truth)]
        names = [name for name in _PRIORS if name in have[0] & have[1]]
    if len(names) == 0:
        msg = 'estimated and truth have no parameter in common'
        raise ValueError(msg)
    rows = [_errors_of(name, finite_array(estimated[name],
                                          f'{name!r} of estimated'),
                       finite_array(truth[name], f'{name!r} of truth'))
            for name in names]
    table = QTable(rows=rows)
    table.meta.update(table_meta(), n_images=len(truth[names[0]]))
    return table


def _errors_of(name, estimated, truth):
    """
    Return the row of a parameter.
    """
    y, x = scale_parameters(estimated, name), scale_parameters(truth, name)
    if x.shape != y.shape or x.ndim != 1:
        msg = (f'{name!r} must be as long in estimated as in truth, got '
               f'the shapes {y.shape} and {x.shape}')
        raise ValueError(msg)
    error = y - x
    size = np.abs(error)
    varies = np.ptp(x) > 0 and np.ptp(y) > 0
    lower, upper = _PRIORS[name]
    return {
        'parameter': name, 'mae': size.mean(),
        'mae_error': (size.std(ddof=1) / np.sqrt(len(size))
                      if len(size) > 1 else np.nan),
        'rmse': np.sqrt(np.mean(error**2)), 'bias': error.mean(),
        'correlation': np.corrcoef(x, y)[0, 1] if varies else np.nan,
        'mae_of_maximum': size.mean() * (upper - lower) / upper}
