# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train a denoiser on one's own frames.
"""

import logging
import secrets

import torch

from .. import __version__
from ..inference.devices import Runtime
from ..inference.shield import shielded
from ..io.output import check_output
from ..models.registry import Model
from .batches import BatchPlan
from .checkpoints import Checkpoint
from .datasets import SimulatedSkies, SurveyFrames
from .distributed import started_processes
from .flux_kept import flux_kept_text
from .frame_checks import warn_of_frames
from .frame_store import FrameFolder, count_images, open_images
from .judgement import judge, score_text, warn_of_score
from .loop import train
from .methods import METHODS, Method, MethodOptions
from .options import Run, Schedule
from .report import write_figure, write_log
from .scores import squared_errors
from .subsampling import ReadingPlan, usable_pixels

__all__ = ['train_denoiser']

logger = logging.getLogger(__name__)

EPOCH = 100  # steps
_EPOCHS = 40
_ENDLESS = 10**6  # epochs, where time is the limit
_WARMUP = 100  # steps


def train_denoiser(images, method='gr2r', *, model=None, epochs=None,
                   minutes=None, device=None, precision='auto', seed=None,
                   checkpoint=None, progress_bar=True, gain=None,
                   read_noise=None, saturation=None, hdu=None, patch=128,
                   n_patches=8, masked_fraction=0.03, radius=2,
                   noise_model='map', recorruption=None, psf_fwhm=None,
                   learning_rate=None, patience=15, name=None, log=None,
                   figure=None, folder=None, checkpoint_minutes=3.0):
    """
    Train a denoiser on a survey's own frames.

    Parameters
    ----------
    images : `~astropy.nddata.CCDData`, `~numpy.ndarray`, path-like, or \
            several of them
        Frames of one camera, in any mixture: NDData types, arrays of
        shape (ny, nx) or (n, ny, nx), paths of FITS files; in a list,
        from a generator, or as an ``ImageFileCollection`` of ccdproc.
        They are read one by one and kept on disk, so that they need not
        fit in memory; of more pixels than the training can use, a part.
        Masked, non-finite and saturated pixels are neither seen nor
        learned from. For ``'noise2noise'``, a list of lists of aligned
        exposures of one field each (a flat list is one field), of one
        filter, and shifted by at most 0.3 of the seeing. For
        ``'supervised'``, noise-free ``Scene`` objects of
        ``astro_denoise.training.scenes``, or `None` to draw them.

    method : str or `~astro_denoise.training.Method`, optional
        * ``'gr2r'``: trains ``ccd`` further, from recorrupted pairs in
          which every pixel counts.
        * ``'r2r'``: the same from scratch, with a small network.
        * ``'noise2void'``: pixels at random places lose their value to
          that of a random neighbor, and are predicted.
        * ``'n2v2'``: the same without its checkerboard, by the median
          of the neighbors, blur pooling and no outermost skip
          connection.
        * ``'pn2v'``: predicts a distribution, and combines it with the
          noise model and the pixel itself.
        * ``'struct_n2v'``: for resampled frames; all pixels that share
          noise with that to predict lose their value.
        * ``'noise2noise'``: predicts one exposure from another.
        * ``'supervised'``: on simulated skies.

        ``'gr2r'``, ``'noise2noise'`` and ``'supervised'`` keep the flux of
        faint sources: its bias, that of simulated ones of the seeing of the
        frames, is a part of what is made small. A ``Method`` of your own
        is one more.

    model : str, path-like or `~astro_denoise.models.Model`, optional
        What to start from: by default ``'ccd'`` for the methods that keep
        flux, a new network for the others.

    epochs : int, optional
        Of 100 steps each; 40 by default, or as many as ``minutes``
        allow.

    minutes : float, optional
        Time for the steps and scores; reading the frames before and
        calibrating the errors after come on top. The result then depends
        on the speed of the machine.

    device : str or `torch.device`, optional
        Default: a CUDA device where there is one, else the processor.

    precision : {'auto', 'float32', 'bfloat16'}, optional
        Of the convolutions.

    seed : int, optional
        Same seed, same model. By default that of the checkpoint, or a
        new one.

    checkpoint : path-like, optional
        File to write the state to within half a minute and then every
        ``checkpoint_minutes``, and to resume from if it exists.

    progress_bar : bool, optional
        Show a progress bar.

    gain, read_noise : float, `~astropy.units.Quantity` or str, optional
        As in `~astro_denoise.denoise`; a frame's own uncertainty comes
        first.

    saturation : float, `~astropy.units.Quantity` or str, optional
        Pixels from this value on are left out; a number in the unit of
        the frames, or a header keyword.

    hdu : int, str or tuple, optional
        Which image of files that hold several.

    patch, n_patches : int, optional
        Pixels per side of a patch, a multiple of 16, and patches of a
        step.

    masked_fraction : float, optional
        Share of the pixels that are predicted in a patch, for methods with
        a blind spot.

    radius : int, optional
        Their neighbors are at most so many pixels away.

    noise_model : {'map', 'histogram'}, optional
        For ``'pn2v'``: Gaussian noise of the width that gain and read
        noise, or the uncertainty, give; or the shape of its histogram
        measured on blank sky as well.

    recorruption : float, optional
        For ``'gr2r'`` and ``'r2r'``: how much noise is added, in units of
        that of the frame; by default 0.5 and 1. More of it makes the target
        less noisy, and sources fainter.

    psf_fwhm : float, optional
        Width of the point-spread function in pixels, for the restoring
        kernels and simulated skies, where it is too wide to be measured.

    learning_rate : float, optional
        Peak of the schedule.

    patience : int, optional
        Epochs without a better held-out score after which the training
        stops.

    name : str, optional
        Of the model; the method by default.

    log, figure : path-like, optional
        Write the training log (ECSV) and a figure of it (PNG).

    folder : path-like, optional
        Where to keep the frames during training: 8 bytes a pixel, in a
        file without a name, of which nothing is left in the end.

    checkpoint_minutes : float, optional
        Time between two checkpoints.

    Returns
    -------
    model : `~astro_denoise.models.Model`
        To be given to `~astro_denoise.denoise`, or saved with its
        ``save``.

    Raises
    ------
    ValueError, TypeError
        If an argument or a frame cannot be used; the message names it.

    OSError
        If a file cannot be read or written, or another process of a
        training of several has gone.

    KeyboardInterrupt
        If a signal stops the training; see the notes.

    Warns
    -----
    AstropyUserWarning
        As `~astro_denoise.denoise`, of what is found in the frames; of
        correlated noise, several filters, colors of a picture, and frames
        given twice; TrainingScoreWarning where the held-out score is not
        better than that of the raw frame, ``ccd``, and, for methods that
        keep no flux, a constant sky and ``ccd-mmse``, or cannot be right.

    Notes
    -----
    At Ctrl-C (SIGINT) or SIGTERM, the step is finished, the checkpoint is
    written, and the training ends: the model is that of the best score so
    far, and its header names the signal. Only where there is a checkpoint
    does SIGTERM, the end of a batch job, stop the process without a model,
    since the same call goes on from there. A second signal stops at once.

    Started by ``torchrun``, all processes share the work, and the
    result is that of one. All return the model; the first alone writes
    files.

    A tenth of the frames (of the rows, where there is one frame) is not
    trained on. It tells when to stop, by Stein's unbiased risk estimate
    or by the other exposures. Errors are calibrated on simulated skies of
    the seeing of the frames, for ``'struct_n2v'`` on what is held out. On
    that the flux is measured that the model keeps of sources, in
    four bins of their signal-to-noise ratio: ``figures`` of the metadata,
    the log and the figure have it.

    Examples
    --------
    >>> from astro_denoise import train_denoiser
    >>> from astro_denoise.data import load_example_pair
    >>> model = train_denoiser(
    ...     load_example_pair(), epochs=1, seed=1, patch=32, n_patches=1,
    ...     progress_bar=False)  # doctest: +IGNORE_WARNINGS
    >>> print(model.name, model.task, model.metadata['training']['n_steps'])
    gr2r denoise 100
    """
    method, chosen = _checked(method, epochs=epochs, minutes=minutes,
                      n_patches=n_patches, patch=patch,
                      checkpoint_minutes=checkpoint_minutes)
    options = MethodOptions(masked_fraction, radius, noise_model,
                            chosen.recorruption if recorruption is None
                            else recorruption, psf_fwhm)
    for path in (log, figure, checkpoint):
        if path is not None:
            check_output(path, overwrite=True)
    with (shielded(),
          started_processes(device) as (processes, device)):
        run = _run(device, precision, seed,
                   Checkpoint(checkpoint, checkpoint_minutes),
                   progress_bar=progress_bar, processes=processes,
                   keeps_best=True)
        plan = BatchPlan(patch, n_patches, run.seed, processes.rank,
                         processes.size)
        if chosen.simulated:
            data = SimulatedSkies(images, plan)
        else:
            frames = FrameFolder(
                folder, patch=patch, gain=gain, read_noise=read_noise,
                saturation=saturation, progress_bar=run.shows_progress,
                plan=_reading_plan(images, chosen, run, plan, epochs, minutes))
            frames.read(open_images(images, hdu=hdu, grouped=chosen.pairs,
                                    wants=frames.wants))
            data = SurveyFrames(frames, chosen.prepare(frames.frames,
                                                       options), plan,
                                pairs=chosen.pairs, psf_fwhm=psf_fwhm,
                                with_skies=bool(chosen.bias_weight))
            warn_of_frames(frames, method, blind=chosen.is_blind,
                           correlated=chosen.structured)
        network, start = chosen.build(model, data.frames, options,
                                      seed=run.seed)
        settings = {
            'method': method, 'start': start, 'seed': run.seed,
            'patch': patch, 'n_patches': n_patches, 'epochs': epochs,
            'learning_rate': learning_rate or chosen.learning_rate,
            'bias_weight': chosen.bias_weight, **chosen.settings(options)}
        network, rows, figures = _fit(
            network, chosen, data, run, settings,
            _schedule(epochs, minutes, settings['learning_rate'], patience))
        trained = Model(network, {
            'name': name or method, 'task': 'denoise',
            'version': __version__, 'summary': chosen.summary,
            **_described(data, settings, rows), 'figures': figures})
        if processes.rank == 0:
            facts = trained.metadata['training']
            warn_of_score(figures['squared_errors'],
                          fwhm=facts['frames'].get('psf_fwhm'),
                          keeps_flux=bool(chosen.bias_weight))
            if log is not None:
                write_log(rows, trained, log)
            if figure is not None:
                write_figure(rows, trained, figure)
    return trained


def _run(device, precision, seed, checkpoint, **options):
    """Choose device, precision, and the seed: given, resumed, or new."""
    runtime = Runtime.resolve(device, precision)
    if seed is None:
        seed = checkpoint.configuration().get('seed')
    seed = secrets.randbelow(2**31) if seed is None else int(seed)
    return Run(options['processes'].agree(seed), runtime, checkpoint,
               **options)


def _schedule(epochs, minutes, learning_rate, patience):
    """Choose the length of the training, a score after each epoch."""
    if epochs is None:
        epochs = _EPOCHS if minutes is None else _ENDLESS
    return Schedule(epochs * EPOCH, learning_rate, warmup=_WARMUP,
                    minutes=minutes, patience=patience, log_every=EPOCH)


def _reading_plan(images, chosen, run, plan, epochs, minutes):
    """Choose how much is read of frames."""
    if epochs is None and minutes is None:
        epochs = _EPOCHS
    smallest = max(ReadingPlan.smallest, 2 * plan.patch)
    n_images = count_images(images)
    n_pixels = usable_pixels(
        epochs=epochs, minutes=minutes, patch=plan.patch,
        n_patches=plan.n_patches, epoch=EPOCH, device=run.runtime.device)
    if chosen.pairs and n_images is not None:
        # Of exposures of a field, none is left out.
        n_pixels = max(n_pixels, n_images * smallest**2)
    return ReadingPlan(n_pixels, n_images, smallest)


def _fit(network, method, data, run, settings, schedule):
    """Train a network, alike in all processes, and calibrate it."""
    def to_tensors(batch):
        return {name: torch.from_numpy(plane).to(run.runtime.device)
                for name, plane in batch.items()}

    validation = to_tensors(data.validation())

    def evaluate(averaged):
        return {'score': float(squared_errors(averaged, validation).mean())}

    network, rows = train(
        network, data.batch, method.loss(network), schedule, run,
        evaluate=evaluate,
        configuration={**settings, 'frames': data.hash,
                       'network': network.config})
    network, rows = run.processes.same(network, rows)
    data.n_pixels = (rows[-1]['step'] * settings['n_patches']
                     * settings['patch']**2)
    method.finish(network, data, to_tensors)
    network = network.to(run.runtime.device)
    figures = {'score': min(row['score'] for row in rows),
               'score_kind': data.score_kind,
               'squared_errors': judge(network, validation, seed=run.seed),
               'flux_kept': data.flux_kept(network, to_tensors)}
    logger.info('%s\n%s', score_text(figures['squared_errors']),
                flux_kept_text(figures['flux_kept']))
    return network.cpu(), rows, figures


def _described(data, settings, rows):
    """Describe a training for the header of the model."""
    return {
        'normalisation': 'frame less its background, in units of the '
                         'noise of the blank sky',
        'training': {
            **settings, 'frames': data.description(),
            'n_steps': rows[-1]['step'],
            'minutes': round(rows[-1]['minutes'], 1),
            **({'signal': rows[-1]['signal']} if 'signal' in rows[-1]
               else {})}}


def _checked(method, *, patch, **numbers):
    """Look up a method and its name, and check numbers that all have."""
    if isinstance(method, Method):
        chosen, method = method, type(method).__name__
    elif method in METHODS:
        chosen = METHODS[method]
    else:
        msg = (f'method must be one of {sorted(METHODS)}, or a Method '
               f'object, got {method!r}')
        raise ValueError(msg)
    for name, value in numbers.items():
        if value is not None and not value > 0:
            msg = f'{name} must be positive, got {value!r}'
            raise ValueError(msg)
    if patch < 32 or patch % 16:
        msg = f'patch must be a multiple of 16 from 32 on, got {patch!r}'
        raise ValueError(msg)
    return method, chosen
