# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Many frames, some of them bad, while workers and the command are killed.

Run as ``python benchmarks/soak.py --help``; what is printed is explained in
``benchmarks/README.rst``. The exit status is 1 if a frame was lost, an
output differs, a bad frame is not told, something was left over, or memory
grew.
"""

import argparse
import bz2
import contextlib
import gzip
import lzma
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from astropy.io import fits
from astropy.table import Table

from astro_denoise.pipeline.many_files import denoise_files
from astro_denoise.simulation.profiles import render_sources

STATUS = 'astro-denoise-status.ecsv'
COMMAND = ('import sys; from astro_denoise.cli.main import main; '
           'sys.exit(main())')


def make_frame(size, seed):
    """Some stars and noise, 16-bit integers."""
    rng = np.random.default_rng(seed)
    n_stars = max(3, size * size // 5000)
    stars = {'x': rng.uniform(0, size, n_stars),
             'y': rng.uniform(0, size, n_stars),
             'flux': 10**rng.uniform(2.5, 4.5, n_stars)}
    image = render_sources((size, size), stars, 3.0, 3.5) + 300.0
    image += rng.standard_normal(image.shape) * np.sqrt(image / 1.5)
    return np.clip(image, 0, 65535).astype(np.uint16)


def make_night(folder, number, size):
    """Write frames, one of them compressed and one with two chips."""
    folder.mkdir()
    paths = []
    for seed in range(number):
        data = make_frame(size, seed)
        hdus = [fits.PrimaryHDU(data)]
        if seed % 10 == 1:
            hdus = [fits.PrimaryHDU(), fits.CompImageHDU(data)]
        elif seed % 10 == 2:
            hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(half)
                                         for half in np.split(data, 2))]
        paths.append(folder / f'frame {seed:04d}.fits')
        fits.HDUList(hdus).writeto(paths[-1])
    return paths


def contents(folder):
    """All files but the table of the status, whose times differ."""
    return {path.name: path.read_bytes() for path in folder.iterdir()
            if path.name != STATUS}


def report(title, paths, out, expected, faults, seconds, *, bad=(),
           more=''):
    """Print what became of the frames; true if all is well."""
    found = contents(out)
    names = {path.name for path in paths}
    lost = len(names - set(found))
    differing = sum(found.get(name, content) != content
                    for name, content in expected.items())
    left = len(set(found) - names)
    table = Table.read(out / STATUS)
    rows = int(np.sum(table['status'] == 'finished'))
    failed = {row['output']: row['message'] for row in table
              if row['status'] == 'failed'}
    told = sum(path.name in failed.get(path.name, '') for path in bad)
    print(f'{title}: frames {len(paths)}, bad ones {len(bad)}, faults '
          f'injected {faults}, frames lost {lost}, outputs differing '
          f'{differing}, files left over {left}, finished rows of the table '
          f'{rows}, failed rows {len(failed)} of which {told} name the frame, '
          f'{seconds / len(paths):.3f} s a frame{more}', flush=True)
    return (lost == differing == left == 0 and rows == len(paths)
            and told == len(failed) == len(bad))


def undisturbed(paths, out, options):
    """What must come out, and how long the first frame took to do so."""
    finished, start = [], time.perf_counter()
    status = denoise_files(
        paths, out, model=options.model, workers=options.workers,
        precision='float32',
        on_finished=lambda row: finished.append(time.perf_counter()))
    seconds = time.perf_counter() - start
    assert set(status['status']) == {'finished'}
    print(f'undisturbed: frames {len(paths)}, '
          f'{seconds / len(paths):.3f} s a frame', flush=True)
    return contents(out), finished[0] - start


def kill_workers(paths, bad, out, expected, interval, options):
    """Kill workers at random until the frames are finished."""
    chance = random.Random(options.seed)
    night = [*paths, *bad]
    chance.shuffle(night)
    stop, killed = threading.Event(), []

    def kill():
        # A cluster that cannot start at all is an error.
        while not stop.wait(0.1) and not any(out.glob('*.fits')):
            pass
        while not stop.wait(chance.expovariate(1.0 / interval)):
            with contextlib.suppress(psutil.Error):
                processes = [
                    child for child in psutil.Process().children()
                    if any('spawn_main' in word for word in child.cmdline())]
                if processes:
                    chance.choice(processes).kill()
                    killed.append(1)

    start = time.perf_counter()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        denoise_files(night, out, model=options.model, retries=20,
                      workers=options.workers, precision='float32')
    finally:
        stop.set()
        killer.join()
    return report('workers killed', paths, out, expected, len(killed),
                  time.perf_counter() - start, bad=bad)


def kill_command(paths, out, expected, options):
    """Kill the command at random points, and start it again."""
    chance = random.Random(options.seed)
    args = [sys.executable, '-c', COMMAND, 'denoise', *map(str, paths), '-o',
            f'{out}{os.sep}', '--model', options.model, '--precision',
            'float32', '--no-progress']
    written, twice, kills = {}, 0, 0
    longest = options.longest
    if longest is None:
        start = time.perf_counter()
        subprocess.run(args, check=True, stdout=subprocess.DEVNULL)
        longest = time.perf_counter() - start
        shutil.rmtree(out)

    def look():
        nonlocal twice
        for path in out.glob('*.fits') if out.is_dir() else ():
            changed = path.stat().st_mtime_ns
            twice += written.setdefault(path.name, changed) != changed

    start = time.perf_counter()
    while kills < options.restarts:
        process = subprocess.Popen(args, stdout=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(0.0, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        look()
        if process.returncode == 0:
            # All is finished: what was killed last is begun anew, so that
            # all kills happen while there is something to do.
            done = sorted(out.glob('*.fits'))
            for path in chance.sample(done, max(1, len(done) // 3)):
                path.unlink()
                written.pop(path.name)
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)
    look()
    well = report('command killed', paths, out, expected, kills,
                  time.perf_counter() - start, more=f', done twice {twice}')
    return well and twice == 0


def damaged(night, size):
    """Write inputs that must be refused, one of each kind."""
    night.mkdir()
    plain, packed = night / 'plain.fits', night / 'packed.fits'
    data = make_frame(size, 1)
    fits.writeto(plain, data, checksum=True)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data)]).writeto(
        packed, checksum=True)
    whole, tiles = plain.read_bytes(), packed.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    tile = bytearray(tiles)
    tile[-5000:] = bytes(5000)
    flipped = bytearray(gzip.compress(whole))
    flipped[len(flipped) // 2] ^= 1
    for name, content in (
            ('header.fits', whole[:1500]),
            ('data.fits', whole[:len(whole) // 2]),
            ('tile.fits', tiles[:-6000]), ('zeros.fits', bytes(tile)),
            ('checksum.fits', bytes(changed)),
            ('no axis.fits', whole.replace(b'NAXIS1  =', b'NAXIq1  =', 1)),
            ('no standard.fits', whole.replace(
                b'SIMPLE  =                    T',
                b'SIMPLE  =                    F', 1)),
            ('large.fits', whole.replace(
                b'NAXIS2  =' + f'{size:21d}'.encode(),
                b'NAXIS2  =' + f'{10**11:21d}'.encode(), 1)),
            ('flipped.fits.gz', bytes(flipped)),
            ('cut.fits.bz2', bz2.compress(whole)[:-9]),
            ('cut.fits.xz', lzma.compress(whole)[:-9]),
            ('text.fits', b'no FITS ' * 1000), ('empty.fits', b'')):
        (night / name).write_bytes(content)
    (night / 'loop.fits').symlink_to('loop.fits')
    plain.unlink()
    packed.unlink()
    return sorted(night.iterdir())


def refuse_damaged(folder, options):
    """Give it damaged inputs only."""
    paths = damaged(folder / 'damaged', options.size)
    status = denoise_files(paths, folder / 'refused', model=options.model)
    accepted = [row['input'] for row in status if row['status'] != 'failed']
    unnamed = [row['message'] for row in status
               if Path(row['input']).name not in row['message']]
    left = len(contents(folder / 'refused'))
    print(f'damaged inputs: {len(paths)}, accepted {len(accepted)}, messages '
          f'without the name {len(unnamed)}, files left over {left}',
          flush=True)
    return not (accepted or unnamed or left)


def memory():
    """Memory of this process in MB."""
    return psutil.Process().memory_info().rss / 2**20


def one_process(options):
    """Many frames in one process; memory must not grow."""
    from astro_denoise import denoise, load_model

    model = load_model(options.model)
    early, start = None, time.perf_counter()
    for number in range(options.memory_frames):
        denoise(make_frame(512, number), model)
        if number == 49:
            early = memory()
    late = memory()
    seconds = time.perf_counter() - start
    if early is None:
        print('memory: needs at least 50 frames')
        return False
    print(f'memory: {early:.0f} MB after 50 frames, {late:.0f} MB after '
          f'{options.memory_frames} ({100 * (late / early - 1):+.1f} %), '
          f'{seconds / options.memory_frames:.3f} s a frame', flush=True)
    return late < 1.05 * early


def main():
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--frames', type=int, default=500, help='default: 500')
    add('--size', type=int, default=512, help='pixels a side (default: 512)')
    add('--workers', type=int, default=4, help='default: 4')
    add('--interval', type=float,
        help='mean seconds between kills of workers (default: a third of '
             'what they take to start)')
    add('--restarts', type=int, default=50,
        help='kills of the command (default: 50)')
    add('--longest', type=float,
        help='longest life of the command in seconds (default: what it takes '
             'undisturbed)')
    add('--memory-frames', type=int, default=2000, help='default: 2000')
    add('--parts', nargs='+', default=['workers', 'command', 'damaged',
                                       'memory'],
        choices=['workers', 'command', 'damaged', 'memory'])
    add('--model', default='ccd', help='name or file (default: ccd)')
    add('--folder', type=Path, help='where to work')
    add('--seed', type=int, default=1, help='of the faults (default: 1)')
    options = parser.parse_args()
    well = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        folder = Path(folder)
        if {'workers', 'command'} & set(options.parts):
            paths = make_night(folder / 'night', options.frames, options.size)
            expected, begin = undisturbed(paths, folder / 'expected', options)
        if 'workers' in options.parts:
            well.append(kill_workers(
                paths, damaged(folder / 'bad', options.size),
                folder / 'workers', expected,
                options.interval or begin / 3, options))
        if 'command' in options.parts:
            few = paths[:max(10, options.frames // 10)]
            names = {path.name for path in few}
            well.append(kill_command(few, folder / 'command', {
                name: content for name, content in expected.items()
                if name in names}, options))
        if 'damaged' in options.parts:
            well.append(refuse_damaged(folder, options))
    if 'memory' in options.parts:
        well.append(one_process(options))
    print('all well' if all(well) else 'NOT WELL')
    return 0 if all(well) else 1


if __name__ == '__main__':
    sys.exit(main())
