# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The flux that methods keep against the brightness of the source.

Drawn from what ``benchmarks/front_page.py`` printed.
"""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

_STYLES = {'blend': ('denoise with a catalog', 'C0', 'o-'),
           'ccd': ('denoise', 'C2', 's--'),
           'ccd-mmse': ('ccd-mmse', 'C1', 'o-'), 'BM3D': ('BM3D', 'C3', 'o-'),
           'Gaussian 1.1': ('Gaussian filter, 1.1 pixels', 'C7', 's--'),
           'Gaussian 4': ('Gaussian filter, 4 pixels', 'C7', 'o-')}

results = next(folder / 'benchmarks' / 'results' / 'front_page.txt'
               for folder in (Path.cwd(), *Path.cwd().parents)
               if (folder / 'benchmarks' / 'results').is_dir())
lines = results.read_text(encoding='utf-8').splitlines()
edges = np.array(re.findall(r'S/N ([\d.]+)-([\d.]+)', lines[1]), float)
snr = np.sqrt(edges.prod(axis=1))
figure, ax = plt.subplots(figsize=(7, 3.6), layout='constrained')
for line in lines:
    name = line[:14].strip()
    if name not in _STYLES:
        continue
    label, color, style = _STYLES[name]
    kept, error = np.array(re.findall(r'([\d.]+) ± ([\d.]+)', line),
                           float).T
    ax.errorbar(snr, kept, error, fmt=style, color=color, capsize=3,
                label=f'{label} ({float(line[14:21]):.2f} of the noise left)')
ax.axhline(1, color='0.7', lw=0.8, zorder=0)
ax.set(xscale='log', ylim=(0, 1.08), ylabel='flux kept',
       xlabel='signal-to-noise ratio of the source in the frame')
ax.set_xticks(snr, [f'{value:.0f}' for value in snr])
ax.minorticks_off()
ax.legend(fontsize=7.5, loc='lower right')
