# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The log of a training, as a table and as a figure.
"""

from pathlib import Path

from astropy.table import Table

from ..frames.panels import figure_for
from ..io.output import atomic_output, check_output

__all__ = ['check_outputs', 'write_figure', 'write_log']


def check_outputs(output, *, overwrite=False):
    """
    Refuse bad names of a file of weights and of the log beside it.

    Parameters
    ----------
    output : path-like
        The ``.safetensors`` file to make.

    overwrite : bool, optional
        Whether it and the log may replace existing files.

    Returns
    -------
    output, log : `~pathlib.Path`
        The weights, and the log with the ending ``.ecsv``.

    Raises
    ------
    ValueError
        If the name has another ending.

    OSError
        If one of them exists, or cannot be written.
    """
    output = Path(output)
    log = output.with_suffix('.ecsv')
    check_output(output, overwrite=overwrite, endings=('.safetensors',))
    check_output(log, overwrite=overwrite)
    return output, log


def write_log(rows, model, path):
    """
    Write the log of a training.

    Parameters
    ----------
    rows : list of dict
        From `~astro_denoise.training.loop.train`.

    model : `~astro_denoise.models.Model`
        What was trained; its name, hash, training and figures go into
        ``meta``.

    path : path-like
        The ``.ecsv`` file, replaced if it exists.
    """
    table = Table(rows=rows)
    for column in table.itercols():
        if column.dtype.kind == 'f':
            column.info.format = '.5g'
    table.meta = {'model': model.name, 'hash': model.hash, **{
        name: model.metadata[name] for name in ('training', 'figures')
        if name in model.metadata}}
    with atomic_output(path, overwrite=True) as temporary:
        table.write(temporary, format='ascii.ecsv')


def write_figure(rows, model, path):
    """
    Draw the loss and the held-out score of a training, and the flux kept.

    Parameters
    ----------
    rows : list of dict
        From `~astro_denoise.training.loop.train`, with scores.

    model : `~astro_denoise.models.Model`
        What was trained.

    path : path-like
        The ``.png`` file, replaced if it exists.
    """
    figure = figure_for(None, 7, 7)
    loss, score, flux = figure.subplots(3)
    loss.sharex(score)
    steps = [row['step'] for row in rows]
    loss.plot(steps, [row['loss'] for row in rows], color='C0')
    loss.set(ylabel='training loss',
             title=f'{model.name}, {rows[-1]["minutes"]:.1f} minutes')
    scores = [row['score'] for row in rows]
    best = min(range(len(rows)), key=scores.__getitem__)
    score.plot(steps, scores, color='C1')
    score.plot(steps[best], scores[best], 'o', color='C1')
    for name, values in model.metadata['figures'].get(
            'squared_errors', {}).items():
        if name != 'trained' and values['all'] is not None:
            score.axhline(values['all'], color='0.6', lw=0.8, ls='--')
            score.annotate(name, (1.0, values['all']), fontsize=7,
                           xycoords=('axes fraction', 'data'))
    score.set(xlabel='step', ylabel='held-out squared error\n'
              f'({model.metadata["figures"]["score_kind"]}, noise = 1)')
    known = [row for row in model.metadata['figures'].get('flux_kept', ())
             if row['kept'] is not None]
    flux.axhline(1.0, color='0.5', lw=1)
    flux.set(xlabel='signal-to-noise ratio of a source', ylabel='flux kept')
    if known:
        flux.errorbar(*([row[name] for row in known] for name in
                        ('snr', 'kept', 'error')), fmt='o', color='C2')
        flux.set(xscale='log')
        flux.set_xticks([], minor=True)
        flux.set_xticks([row['snr'] for row in known],
                        [f'{row["snr"]:.2g}' for row in known])
    for ax in (loss, score, flux):
        ax.grid(alpha=0.3)
    with atomic_output(path, overwrite=True) as temporary:
        figure.savefig(temporary, format='png', dpi=120)
