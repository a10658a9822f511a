# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
An experiment: several aligned exposures at once, beside ``gr2r`` on their
mean.

Run as ``python benchmarks/multi_frame.py --help``. A network sees as many
exposures of a field as ``--number`` says, each with its mask, and gives as
many (the idea of ASTERIS, arXiv:2602.17205). It learns from recorrupted
exposures, as ``r2r`` does, with the same small network but for its first
and last layer. The mean of what it gives is compared with what is made of
the mean of the exposures: nothing, ``ccd``, ``r2r`` and ``gr2r`` trained on
such means. All see equally many steps. Columns are those of
``self_supervised.py``; errors are in noise of the sky of the mean, and bins
of the signal-to-noise ratio those of one exposure.
"""

import argparse
import os

import numpy as np
from astropy.nddata import CCDData
from columns import Column, Columns
from denoise_quality import RawPhotometry, pixel_errors
from fields import Field, even_seeing, photometry_field, survey_field
from methods import note
from trainings import KNOWN, Ours, Shipped

SEED = 20150212_99  # used by no other script and no training

# Fields to train on, to test on, and for photometry, and pixels per side.
FULL = {'n_train': 4, 'n_test': 2, 'n_photometry': 4, 'size': 1024}
QUICK = {'n_train': 2, 'n_test': 1, 'n_photometry': 2, 'size': 512}

_TAU = 0.5
_PATCH, _N_PATCHES = 128, 8

TABLE = Columns(
    Column('method', width=15), Column('rms', width=7),
    Column('blank_rms', 'blank', width=7), Column('snr', 'S/N', width=6),
    Column('flux_ratio', 'flux ratio', width=12, error='flux_ratio_error'),
    Column('scatter', 's68/R', width=9), Column('floor', width=7))


def mean_field(field, number):
    """
    The field whose exposures are means of so many of another.

    Parameters
    ----------
    field : `~fields.Field`
        With a multiple of this number of exposures.

    number : int
        Exposures of a mean.

    Returns
    -------
    field : `~fields.Field`
        Its exposures have the gain and read noise of means.
    """
    exposures, truth, sources = [], [], field.sources
    if sources is not None:
        sources = sources.copy()
        sources['floor'] /= number**0.5
    for first in range(0, len(field.exposures), number):
        parts = field.exposures[first:first + number]
        header = parts[0].header.copy()
        header['GAIN'] *= number
        header['RDNOISE'] *= number**0.5
        exposures.append(CCDData(
            np.mean([part.data for part in parts], axis=0), unit='adu',
            mask=np.any([part.mask for part in parts], axis=0), meta=header))
        truth.append(np.mean(field.truth[first:first + number], axis=0))
    return Field(exposures, truth, field.sky, field.sigma / number**0.5,
                 sources)


def _standardized(field, first, number):
    """Exposures without sky, in their noise, and where they are valid."""
    x, valid = [], []
    for frame in field.exposures[first:first + number]:
        good = ~frame.mask if frame.mask is not None else np.ones(
            frame.shape, bool)
        x.append(np.where(good, (frame.data - field.sky) / field.sigma, 0.0))
        valid.append(good)
    return np.float32(x), np.float32(valid)


def _network(number):
    """The small network, for several exposures."""
    import torch

    from astro_denoise.models.blind_spot import BlindSpotDenoiser
    from astro_denoise.models.layers import asinh, convolution_block

    class Exposures(BlindSpotDenoiser):
        def __init__(self):
            super().__init__()
            width = self.config['widths'][0]
            self.encoders[0] = convolution_block(2 * number, width, 1)
            self.head = torch.nn.Conv2d(width, number, 1)
            torch.nn.init.zeros_(self.head.weight)
            torch.nn.init.zeros_(self.head.bias)

        def forward(self, x, valid, dtype=torch.float32):
            planes = torch.cat([asinh(x), valid], 1).contiguous(
                memory_format=torch.channels_last)
            mean = (x * valid).sum(1, keepdim=True) / valid.sum(
                1, keepdim=True).clamp_min(1.0)
            scale = torch.nn.functional.avg_pool2d(mean, 5, 1, 2)
            return self._answer(planes, self.dtypes(dtype)) * (
                1.0 + scale**2).sqrt()

    return Exposures()


def _squared_loss(model, batch, step, dtype):
    import torch

    pull = (model(batch['x'], batch['valid'], dtype) - batch['target']
            ) / (1.0 + _TAU**-2)**0.5
    squared = 2.0 * torch.nn.functional.huber_loss(
        pull, torch.zeros_like(pull), delta=5.0, reduction='none')
    return (squared * batch['valid']).sum() / batch['valid'].sum(), {}


class MultiFrame:
    """
    Trained on several exposures at once.

    Parameters
    ----------
    fields : list of `~fields.Field`
        What to train on.

    number : int
        Exposures at once.

    epochs : int
        Of 100 steps.

    seed : int
        Of the training.
    """

    label = 'multi_frame'

    def __init__(self, fields, number, epochs, seed):
        import torch

        from astro_denoise.inference.devices import Runtime
        from astro_denoise.training.loop import train
        from astro_denoise.training.options import Run, Schedule

        self.number = number
        planes = [_standardized(field, 0, number) for field in fields]
        tau = np.float32(_TAU)

        def make_batch(seed):
            rng = np.random.default_rng(seed)
            batch = {'x': [], 'target': [], 'valid': []}
            for _ in range(_N_PATCHES):
                x, valid = planes[rng.integers(len(planes))]
                top, left = rng.integers(0, x.shape[-1] - _PATCH, 2)
                cut = np.s_[:, top:top + _PATCH, left:left + _PATCH]
                turns, order = rng.integers(4), rng.permutation(number)
                x, valid = (np.rot90(plane[cut], turns, (1, 2))[order]
                            for plane in (x, valid))
                noise = rng.standard_normal(x.shape, np.float32)
                batch['x'].append((x + tau * noise) * valid)
                batch['target'].append((x - noise / tau) * valid)
                batch['valid'].append(valid)
            return {name: np.stack(parts) for name, parts in batch.items()}

        torch.manual_seed(seed)
        self.network, _ = train(
            _network(number), make_batch, _squared_loss,
            Schedule(100 * epochs, warmup=100),
            Run(seed=seed, runtime=Runtime.resolve('cpu')))
        self.network.eval()

    def denoise_field(self, field):
        """The mean of what is made of each set of exposures."""
        import torch

        results = []
        for first in range(0, len(field.exposures), self.number):
            x, valid = (torch.from_numpy(plane)[None] for plane in
                        _standardized(field, first, self.number))
            with torch.inference_mode():
                found = self.network(x, valid)[0].mean(0).numpy()
            results.append(found * field.sigma + field.sky)
        return results


def main():
    """
    Run the experiment.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--number', type=int, default=4, help='exposures (default: 4)')
    add('--epochs', type=int, default=33, help='of 100 steps (default: 33)')
    add('--quick', action='store_true', help='smaller frames')
    add('--threads', type=int, default=min(2, os.cpu_count() or 1))
    add('--seed', type=int, default=SEED)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    scale = QUICK if options.quick else FULL
    number, size = options.number, scale['size']
    training, tests = ([survey_field(size, [options.seed, part, index],
                                     n_exposures=number)
                        for index in range(scale[name])]
                       for part, name in ((1, 'n_train'), (2, 'n_test')))
    single = [photometry_field(size, [options.seed, 3, index],
                               psf_fwhm=even_seeing(index),
                               n_exposures=2 * number)
              for index in range(scale['n_photometry'])]
    means, test_means, phot_means = ([mean_field(field, number)
                                      for field in fields]
                                     for fields in (training, tests, single))
    raw = RawPhotometry(phot_means)
    frames = [frame for field in means for frame in field.exposures]
    print(f'{number} exposures of {size}², {len(training)} fields, '
          f'{options.epochs} epochs of 100 steps\n{TABLE.head}', flush=True)

    def show(label, results):
        """Print the lines of a method, from its planes by field."""
        def apply(field, exposure):
            return results[id(field)][exposure], None

        numbers = pixel_errors(apply, test_means, (1, 256))
        for index, row in enumerate(raw.rows(raw.measure(apply),
                                             options.seed)):
            print(TABLE.line({'method': label, **numbers, **row}, n_first=2,
                             blank=index > 0))
        print(flush=True)

    measured = [*test_means, *phot_means]
    show('mean', {id(field): [frame.data for frame in field.exposures]
                  for field in measured})
    multi = MultiFrame(training, number, options.epochs, options.seed)
    show(multi.label, {
        id(mean): multi.denoise_field(field) for mean, field in zip(
            measured, [*tests, *single], strict=True)})
    length = {'epochs': options.epochs, 'patience': options.epochs}
    for label in ('ccd', 'r2r', 'gr2r'):
        method = (Shipped(label, **KNOWN) if label == 'ccd' else
                  Ours(label, frames, seed=options.seed, **length, **KNOWN))
        show(label, {id(field): [
            plane for plane, _ in method.denoise_all(field.exposures)]
            for field in measured})
        note(f'{label}: done')


if __name__ == '__main__':
    main()
