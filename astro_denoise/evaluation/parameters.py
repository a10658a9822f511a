# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors of estimated parameters.
"""

import numpy as np
from astropy.table import QTable

__all__ = ['parameter_errors', 'scale_parameters']

# Ends of the priors of the Galactic-Centre simulator.
_PRIORS = {'a_dm': (0.0, 1.0), 'a_ic': (0.0, 1.0), 'a_pi0': (0.0, 1.0),
           'a_bubbles': (0.0, 1.0), 'n_ps_gc': (200.0, 800.0),
           'n_ps_disk': (1000.0, 4000.0), 'n_ps_total': (1200.0, 4800.0)}


def scale_parameters(values, name):
    """
    Bring a parameter of the Galactic Centre to 0-1 over its prior.

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
    Errors of each parameter, on the scale of its prior.

    Parameters
    ----------
    estimated, truth : `~astropy.table.Table` or mapping
        Columns named as the parameters, with a row per image.

    names : sequence of str, optional
        The parameters; `None` takes all of the Galactic Centre's that
        both have.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per ``parameter``, all over the width of the prior: ``mae``
        (mean absolute error), its standard error ``mae_error``, ``rmse``,
        ``bias`` (mean error); ``correlation``; and
        ``mae_of_maximum``, the mean absolute error in units of the upper
        end of the prior instead.

    Raises
    ------
    ValueError
        If the tables are of different length, or have no parameter in
        common.

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
    if not names:
        msg = 'estimated and truth have no parameter in common'
        raise ValueError(msg)
    rows = []
    for name in names:
        x = scale_parameters(truth[name], name)
        y = scale_parameters(estimated[name], name)
        if x.shape != y.shape or x.ndim != 1:
            msg = (f'{name!r} must be as long in estimated as in truth, got '
                   f'the shapes {y.shape} and {x.shape}')
            raise ValueError(msg)
        error = y - x
        size = np.abs(error)
        varies = np.ptp(x) > 0 and np.ptp(y) > 0
        lower, upper = _PRIORS[name]
        rows.append({
            'parameter': name, 'mae': size.mean(),
            'mae_error': size.std() / np.sqrt(len(size)),
            'rmse': np.sqrt(np.mean(error**2)), 'bias': error.mean(),
            'correlation': np.corrcoef(x, y)[0, 1] if varies else np.nan,
            'mae_of_maximum': size.mean() * (upper - lower) / upper})
    return QTable(rows=rows)
