# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Trained denoisers for ``self_supervised.py``: those of this package, and
those of CAREamics, in its own environment.
"""

import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from denoise_quality import Baseline
from methods import apply_baseline, fill_masked, note

from astro_denoise import denoise, load_model, train_denoiser

WORKER = Path(__file__).with_name('careamics_worker.py')

OURS = ('noise2void', 'n2v2', 'pn2v', 'struct_n2v', 'r2r', 'noise2noise',
        'gr2r')
THEIRS = {'careamics n2v': 'n2v', 'careamics n2v2': 'n2v2'}
KNOWN = {'gain': 'GAIN', 'read_noise': 'RDNOISE'}


def length_of(options):
    """
    Length of the trainings, as `train_denoiser` takes it.

    Parameters
    ----------
    options : `argparse.Namespace`
        With ``epochs`` and ``minutes``.

    Returns
    -------
    length : dict
        The first if it is given, else the other.
    """
    if options.epochs:
        return {'epochs': options.epochs, 'patience': options.epochs}
    return {'minutes': options.minutes}


class Shipped:
    """
    A model of this package.

    Parameters
    ----------
    label : str
        Its name.

    model : `~astro_denoise.models.Model`, optional
        The model, if it is not that of the name.

    **known
        Gain and read noise, if they are to be known.
    """

    predict_rate = None

    def __init__(self, label, model=None, **known):
        self.label = label
        self.model = load_model(label) if model is None else model
        self.known = known

    def denoise_all(self, frames):
        """Denoised pixels and their errors, of each frame."""
        results = []
        for frame in frames:
            start = time.process_time()
            result = denoise(frame, self.model, add_keyword=False,
                             **self.known)
            rate = frame.data.size / (time.process_time() - start) / 1e6
            self.predict_rate = max(self.predict_rate or 0.0, rate)
            results.append((result.data, result.uncertainty.array))
        return results


class Ours(Shipped):
    """
    A method of this package, trained.

    Parameters
    ----------
    label : str
        A method of `train_denoiser`.

    frames : list
        What to train on.

    seed : int
        Of the training.

    patch : int, optional
        Pixels per side of a patch.

    **options
        Passed to `train_denoiser`.
    """

    def __init__(self, label, frames, *, seed, patch=128, **options):
        start = time.process_time()
        model = train_denoiser(frames, label, seed=seed, patch=patch,
                               progress_bar=False, **options)
        spent = time.process_time() - start
        super().__init__(label, model, **{
            name: options[name] for name in KNOWN if name in options})
        facts = model.metadata['training']
        self.minutes = facts['minutes']
        self.n_steps = facts['n_steps']
        self.train_rate = (self.n_steps * facts['n_patches'] * patch**2
                           / spent / 1e6)


class Theirs:
    """
    A network of CAREamics, trained in its own environment.

    Parameters
    ----------
    label : str
        One of ``THEIRS``.

    python : str
        The Python of that environment.

    frames, to_predict : list of `~astropy.nddata.CCDData`
        What to train on, and everything it will have to denoise.

    minutes : float
        For how long.

    seed, threads : int
        For the worker.
    """

    def __init__(self, label, python, frames, to_predict, minutes, *, seed,
                 threads):
        self.label = label
        self._numbers = {id(frame): number
                         for number, frame in enumerate(to_predict)}
        filled = [self._filled(frame) for frame in frames]
        smallest = np.min([plane.shape for plane in filled], axis=0)
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / 'train.npz', frames=np.stack([
                plane[:smallest[0], :smallest[1]] for plane in filled]))
            np.savez(Path(folder) / 'predict.npz', **{
                f'p{number}': self._filled(frame)
                for number, frame in enumerate(to_predict)})
            subprocess.run(
                [python, str(WORKER), folder, '--method', THEIRS[label],
                 '--minutes', str(minutes), '--threads', str(threads),
                 '--seed', str(seed)], check=True, capture_output=True)
            with np.load(Path(folder) / 'result.npz') as result:
                facts = json.loads(str(result['facts']))
                self._planes = [result[f'p{number}']
                                for number in range(len(to_predict))]
        self.minutes, self.n_steps = facts['minutes'], facts['n_steps']
        self.train_rate = facts['train_rate']
        self.predict_rate = facts['predict_rate']

    @staticmethod
    def _filled(frame):
        """It knows no masks."""
        values = np.asarray(frame.data, np.float32)
        mask = ~np.isfinite(values)
        if frame.mask is not None:
            mask |= frame.mask
        return fill_masked(np.where(mask, 0, values), mask)

    def denoise_all(self, frames):
        """Denoised pixels, without errors, of each frame."""
        return [(self._planes[self._numbers[id(frame)]], None)
                for frame in frames]


class Free:
    """
    A filter beside the networks, which needs no training.

    Parameters
    ----------
    label : str
        The identity or a Gaussian, see `methods.baseline`: a linear one.

    width : float, optional
        Standard deviation of the Gaussian, in pixels.
    """

    train_rate = minutes = np.nan

    def __init__(self, label, width=None):
        self._filter = Baseline(label, width)
        self.label = self._filter.label
        self.predict_rate = 0.0

    def denoise_all(self, frames):
        """Denoised pixels, without errors, of each frame."""
        results = []
        for frame in frames:
            start = time.perf_counter()
            # A linear filter does not ask for the noise.
            result = apply_baseline(self._filter.function, frame, 1.0)
            rate = frame.data.size / (time.perf_counter() - start) / 1e6
            self.predict_rate = max(self.predict_rate, rate)
            results.append((result, None))
        return results


def train_all(options, frames, to_predict, *, patch=128, names=None,
              **known):
    """
    Train all methods on the same frames, one after the other.

    Parameters
    ----------
    options : `argparse.Namespace`
        See `main`.

    frames : list of `~astropy.nddata.CCDData`
        What to train on; exposures of one field, two by two.

    to_predict : list of `~astropy.nddata.CCDData`
        Everything that is to be denoised.

    patch : int, optional
        Pixels per side of a patch.

    names : sequence of str, optional
        The methods.

    **known
        What is known of the noise.

    Yields
    ------
    method : `Ours` or `Theirs`
        Trained.
    """
    for label in names or options.methods:
        start = time.perf_counter()
        if label in THEIRS:
            if options.careamics is None:
                note(f'{label}: left out, --careamics was not given')
                continue
            method = Theirs(label, options.careamics, frames, to_predict,
                            options.minutes, seed=options.seed,
                            threads=options.threads)
        else:
            groups = frames
            if label == 'noise2noise':
                groups = [frames[index:index + 2]
                          for index in range(0, len(frames), 2)]
                if len(groups[-1]) < 2:
                    continue
            method = Ours(label, groups, seed=options.seed, patch=patch,
                          **length_of(options), **known)
        note(f'{label}: {method.n_steps} steps in {method.minutes:.1f} '
             f'minutes, {time.perf_counter() - start:.0f} s in all')
        yield method
