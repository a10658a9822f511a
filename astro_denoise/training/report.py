# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The log of a training, as a table and as a figure.
"""

from astropy.table import Table

from .._output import atomic_output

__all__ = ['write_figure', 'write_log']


def write_log(rows, model, path):
    """
    Write the log of a training.

    Parameters
    ----------
    rows : list of dict
        From `~astro_denoise.training.loop.train`.

    model : `~astro_denoise.models.Model`
        What was trained; its name, hash and training go into ``meta``.

    path : path-like
        The ``.ecsv`` file, replaced if it exists.
    """
    table = Table(rows=rows)
    for column in table.itercols():
        if column.dtype.kind == 'f':
            column.info.format = '.5g'
    table.meta = {'model': model.name, 'hash': model.hash,
                  'training': model.metadata['training'],
                  'figures': model.metadata['figures']}
    with atomic_output(path, overwrite=True) as temporary:
        table.write(temporary, format='ascii.ecsv')


def write_figure(rows, model, path):
    """
    Draw the loss and the held-out score of a training.

    Parameters
    ----------
    rows : list of dict
        From `~astro_denoise.training.loop.train`, with scores.

    model : `~astro_denoise.models.Model`
        What was trained.

    path : path-like
        The ``.png`` file, replaced if it exists.
    """
    from matplotlib.figure import Figure

    # Not one of pyplot, which may look for a display.
    figure = Figure(figsize=(7, 5), layout='constrained')
    loss, score = figure.subplots(2, sharex=True)
    steps = [row['step'] for row in rows]
    loss.plot(steps, [row['loss'] for row in rows], color='C0')
    loss.set(ylabel='training loss',
             title=f'{model.name}, {rows[-1]["minutes"]:.1f} minutes')
    scores = [row['score'] for row in rows]
    best = min(range(len(rows)), key=scores.__getitem__)
    score.plot(steps, scores, color='C1')
    score.plot(steps[best], scores[best], 'o', color='C1')
    score.set(xlabel='step', ylabel='held-out squared error\n'
              f'({model.metadata["figures"]["score_kind"]}, noise = 1)')
    for ax in (loss, score):
        ax.grid(alpha=0.3)
    with atomic_output(path, overwrite=True) as temporary:
        figure.savefig(temporary, format='png', dpi=120)
