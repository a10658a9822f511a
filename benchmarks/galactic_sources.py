# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Point sources of the Galactic Center: maps and catalogs.
"""

import numpy as np
from galactic_baselines import FINDERS, KERNEL, LogisticRegression, has
from galactic_report import MISSING, SEED, draw, save

from astro_denoise import evaluation

N_BRIGHTEST = 250


def maps_of(model, images):
    """Probability and flux of a model of the task ``segment``."""
    from astro_denoise import segment_point_sources

    maps = []
    for start in range(0, len(images), 256):
        maps += [(found.probability, found.flux)
                 for found in segment_point_sources(
                     images[start:start + 256], model)]
    return (np.stack(planes) for planes in zip(*maps, strict=True))


def segmentation(report, models, test, sizes, figures):
    """Scores of maps of point sources."""
    images, flux = test['images'], test['flux']
    training = draw(sizes['train_pixels'], SEED + 2 * 10**6)
    many = draw(max(sizes['test'] // 2, 1000), SEED + 3 * 10**6)
    position = (many['flux'] > 0).mean(0)
    logistic = LogisticRegression(training['images'], training['flux'] > 0)
    train_maps = {
        'raw counts': training['images'],
        'position map': np.broadcast_to(position, training['flux'].shape),
        'logistic regression': logistic(training['images'])}
    maps = {'raw counts': images,
            'position map': np.broadcast_to(position, flux.shape),
            'logistic regression': logistic(images)}
    thresholds = {name: evaluation.scan_thresholds(
        score, training['flux']).meta['best_accuracy']
        for name, score in train_maps.items()}
    flux_maps = {}
    for name, label in (('unet-paper', 'reproduction (unet-paper)'),
                        ('galactic-center', 'ours (galactic-center)')):
        model = models.find(name, 'segment')
        if model is None:
            maps[label] = None
            continue
        maps[label], bright = maps_of(model, images)
        if name == 'galactic-center':
            flux_maps[f'{label}: flux'] = bright
        thresholds[label] = (0.02 if name == 'unet-paper' else 0.5)

    report.title('Point sources, all (approach A), mean over images; '
                 'AUC and AP of all pixels together beside',
                 'AUC', 'scatter', 'AP', 'accuracy', 'scatter', 'Brier',
                 'AUC together', 'AP together')
    report.line('document', 0.92, 0.01, None, 0.80, 0.03, None, None, None)
    report.line('no source anywhere', 0.5, None, None,
                float((flux == 0).mean()), None, None, 0.5, None)
    scores = {}
    for label, score in maps.items():
        if score is None:
            report.line(label, MISSING)
            continue
        result = evaluation.score_segmentation(
            score, flux, threshold=thresholds[label])
        scores[label] = result
        table, pooled = result.table, result.pooled[0]
        numbers = {
            'auc': table['auc'].mean(), 'auc_scatter': table['auc'].std(),
            'ap': table['average_precision'].mean(),
            'accuracy': table['accuracy'].mean(),
            'accuracy_scatter': table['accuracy'].std(),
            'brier': (None if label == 'raw counts'
                      else pooled['brier']),
            'auc_together': pooled['auc'],
            'ap_together': pooled['average_precision']}
        report.line(label, *numbers.values())
        report.keep('all sources', label, **numbers,
                    threshold=thresholds[label])
    raw = scores['raw counts'].table['auc']
    for label, result in scores.items():
        if label != 'raw counts':
            above = float(np.mean(result.table['auc'] > raw))
            report.line(label, f'above raw counts on {100 * above:.1f} % of '
                        f'images', width=50)
            report.keep('above raw counts', label, fraction=above)

    # How well sources can be told depends on how many there are.
    percent = 100.0 * (flux > 0).mean((1, 2))
    report.title('Point sources, all: AUC and the percentage of pixels with '
                 'a source', 'AUC', 'error', 'slope')
    for label, result in scores.items():
        auc = result.table['auc']
        numbers = {'auc': auc.mean(), 'error': auc.std() / len(auc)**0.5,
                   'slope': np.polyfit(percent, auc, 1)[0]}
        report.line(label, *numbers.values())
        report.keep('share of pixels', label, **numbers)

    report.title(f'Point sources, the {N_BRIGHTEST} brightest pixels '
                 f'(approach B)', 'AUC', 'scatter', 'AP', 'accuracy',
                 'scatter')
    report.line('document (N not stated)', 0.97, 0.01, None, 0.94, 0.01)
    brightest = {}
    for label, score in {**maps, **flux_maps}.items():
        if score is None:
            report.line(label, MISSING)
            continue
        result = evaluation.score_segmentation(
            score, flux, approach='B', n_brightest=N_BRIGHTEST)
        brightest[label] = result
        table = result.table
        numbers = {'auc': table['auc'].mean(),
                   'auc_scatter': table['auc'].std(),
                   'ap': table['average_precision'].mean(),
                   'accuracy': table['accuracy'].mean(),
                   'accuracy_scatter': table['accuracy'].std()}
        report.line(label, *numbers.values())
        report.keep('brightest', label, **numbers)

    for label in maps:
        if label.startswith(('reproduction', 'ours')) and label in scores:
            detail(report, label, maps[label], flux, thresholds[label],
                   figures)
    if figures:
        for label in scores:
            save(figures, f'auc {label}', evaluation.plot_auc_histogram(
                scores[label], brightest[label]))


def detail(report, label, score, flux, threshold, figures):
    """Approach B with the document's N, the cut, and the reliability."""
    result = evaluation.score_segmentation(score, flux, approach='B',
                                           threshold=0.02)
    table = result.table
    scan = evaluation.scan_thresholds(
        score[:500], flux[:500], np.unique(np.append(
            np.geomspace(0.002, 0.9, 25), (0.02, 0.5, threshold))))
    report.title(f'{label}: approach B with N as many as lie above 0.02')
    report.line('AUC, accuracy, N', table['auc'].mean(),
                table['accuracy'].mean(), f'{table["n_predicted"].mean():.0f}')
    report.title(f'{label}: cut values', 'predicted', 'accuracy A',
                 'accuracy B', 'complete', 'pure', 'F1')
    for row in scan[::3]:
        report.line(f'{row["threshold"]:.4f}', *(
            row[name] for name in ('predicted', 'accuracy_a', 'accuracy_b',
                                   'completeness', 'purity', 'f1')))
    report.line('best F1 at', scan.meta['best_f1'])
    report.line('best accuracy at', scan.meta['best_accuracy'])
    bins = evaluation.reliability(score, flux > 0, n_bins=10)
    report.title(f'{label}: reliability', 'probability', 'fraction',
                 'error', 'pixels')
    for row in bins:
        report.line('', row['probability'], row['fraction'], row['error'],
                    f'{row["n"]}')
    report.line('mean difference', bins.meta['calibration_error'])
    report.keep('reliability', label, error=bins.meta['calibration_error'])
    if figures:
        save(figures, f'reliability {label}',
             evaluation.plot_reliability(bins))
        save(figures, f'cuts {label}',
             evaluation.plot_thresholds(scan).figure)


def catalogs(report, models, test, sizes):
    """Completeness and purity of catalogs."""
    tuning = draw(sizes['tune'], SEED + 4 * 10**6)
    test = {name: test[name][:sizes['catalog']]
            for name in ('images', 'flux', 'expected')}
    truth = {key: evaluation.ideal_snr(part['flux'], part['expected'],
                                       KERNEL)
             for key, part in (('tune', tuning), ('test', test))}
    columns = ('complete', 'pure', 'F1', 'strict pure', 'strict F1',
               'entries', 'offset')
    bright = (truth['test'] > 5).sum() / len(truth['test'])
    report.title(f'Catalog: sources of ideal S/N > 5 ({bright:.1f} an '
                 f'image), within 1 pixel', *columns)

    def row(label, found, settings):
        table = evaluation.match_sources(found, truth['test'])
        result = {name: np.asarray(column)[0].item()
                  for name, column in table.items()}
        per_image = result['n_found'] / len(found)
        report.line(label, result['completeness'], result['purity'],
                    result['f1'], result['strict_purity'],
                    result['strict_f1'], f'{per_image:.1f}',
                    result['offset'], width=12)
        report.keep('catalog', label, **result, settings=settings)

    for name, (make, grid) in FINDERS.items():
        if name == 'sep' and not has('sep'):
            report.line(name, 'not installed')
            continue
        best = max(grid, key=lambda options, make=make: (
            evaluation.match_sources(
                [make(**options)(image) for image in tuning['images']],
                truth['tune'])['f1'][0]))
        find = make(**best)
        row(name, [find(image) for image in test['images']], best)
        print(f'    tuned: {best}')
    model = models.find('galactic-center', 'segment')
    if model is None:
        report.line('ours', MISSING)
        return

    # A catalog of its own at the threshold of the model, of which the
    # entries of the highest signal-to-noise ratio are kept.
    entries = [positions(model, tuning['images']),
               positions(model, test['images'])]

    def kept(part, cut):
        return [table[table[:, 2] > cut, :2] for table in part]

    cuts = np.arange(2.0, 8.0, 0.1)
    best = max(cuts, key=lambda cut: evaluation.match_sources(
        kept(entries[0], cut), truth['tune'])['f1'][0])
    row('ours', kept(entries[1], best), {'snr': best})
    print(f'    tuned: snr > {best:g}')
    for cut in cuts[10:31:2]:
        row(f'  snr > {cut:g}', kept(entries[1], cut), None)


def positions(model, images):
    """Positions and signal-to-noise ratio of the catalogs of images."""
    from astro_denoise import segment_point_sources

    tables = []
    for found in segment_point_sources(images, model):
        tables.append(np.stack([
            np.asarray(found.catalog[name])
            for name in ('x_centroid', 'y_centroid', 'snr')], 1))
    return tables
