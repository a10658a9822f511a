# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train CAREamics and predict with it: run by ``self_supervised.py`` with the
Python of an environment that has CAREamics and not this package.

Reads ``train.npz`` and ``predict.npz`` from the folder given and writes
``result.npz``.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch


def declare_missing_operators():
    """
    Let torchvision be imported beside a torch it was not built for.

    CAREamics imports it for other networks; none of its operators is
    called by those trained here.
    """
    schema = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
    for name in ('nms', 'qnms'):
        torch.library.define(f'torchvision::{name}', schema)


def main():
    """
    Run the worker.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=Path)
    parser.add_argument('--method', choices=('n2v', 'n2v2'), required=True)
    parser.add_argument('--minutes', type=float, required=True)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--seed', type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        declare_missing_operators()
    from careamics import CAREamist, __version__
    from careamics.config import create_advanced_n2v_config

    frames = np.load(options.folder / 'train.npz')['frames']
    seconds = 60.0 * options.minutes
    config = create_advanced_n2v_config(
        'benchmark', 'array', 'SYX', patch_size=[64, 64], batch_size=16,
        num_epochs=10000, use_n2v2=options.method == 'n2v2', num_workers=0,
        seed=options.seed, trainer_params={
            'max_time': {'seconds': int(seconds)}, 'accelerator': 'cpu'})
    trainer = CAREamist(config, work_dir=options.folder / 'careamics',
                        enable_progress_bar=False)
    start = time.perf_counter()
    trainer.train(train_data=frames)
    trained = time.perf_counter() - start
    n_steps = trainer.trainer.global_step

    results = {}
    planes = np.load(options.folder / 'predict.npz')
    best = np.inf
    for name in planes.files:
        start = time.perf_counter()
        predicted, _ = trainer.predict(
            planes[name], axes='YX', data_type='array', tile_size=(256, 256),
            tile_overlap=(48, 48), batch_size=1, num_workers=0)
        elapsed = time.perf_counter() - start
        best = min(best, elapsed / planes[name].size)
        results[name] = np.squeeze(predicted[0]).astype(np.float32)
    facts = {'version': __version__, 'torch': torch.__version__,
             'n_steps': int(n_steps), 'minutes': trained / 60.0,
             'train_rate': n_steps * 16 * 64**2 / trained / 1e6,
             'predict_rate': 1e-6 / best}
    np.savez(options.folder / 'result.npz', facts=json.dumps(facts),
             **results)


if __name__ == '__main__':
    main()
