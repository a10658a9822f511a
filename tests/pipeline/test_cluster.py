# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the cluster that is started on this computer.
"""

import os
import sys

import pytest

from astro_denoise.inference import cores
from astro_denoise.pipeline import cluster as _cluster

distributed = pytest.importorskip('distributed')
psutil = pytest.importorskip('psutil')
pytest.importorskip('cryptography')


@pytest.fixture(scope='module')
def local():
    with _cluster._local_cluster(1) as cluster:
        yield cluster


def listening():
    """
    Ports at which this process and its children wait for others.
    """
    here = psutil.Process()
    return [connection.laddr for process in (here, *here.children(
        recursive=True)) for connection in process.net_connections('tcp')
        if connection.status == psutil.CONN_LISTEN]


def test_work_is_done(local):
    with distributed.Client(local) as client:
        worker = client.submit(os.getpid).result(timeout=60)
        assert worker != os.getpid()
        # Also one that is started again is without a server.
        client.restart_workers(list(client.nthreads()), timeout=60)
        assert client.submit(os.getpid).result(timeout=60) != worker
        # Of the scheduler, the worker and who watches it.
        ports = listening()
    assert len(ports) == 3, ports
    assert {address.ip for address in ports} == {'127.0.0.1'}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('security', [None, 'own'])
def test_nobody_else_is_let_in(local, security):
    assert local.scheduler_address.startswith('tls://')
    address = local.scheduler_address
    options = {}
    if security:
        options['security'] = distributed.Security.temporary()
    else:
        address = address.replace('tls', 'tcp')
    with pytest.raises(OSError, match=r'Timed out|Connection|TLS'):
        distributed.Client(address, timeout=3, **options)
    with distributed.Client(local) as client:  # goes on
        assert client.submit(sum, (1, 2)).result(timeout=60) == 3


@pytest.mark.parametrize(('n_cores', 'workers', 'expected'), [
    (1, 4, '1'), (8, 3, '2'), (6, 1, '6')])
def test_threads_of_the_job(monkeypatch, n_cores, workers, expected):
    import dask

    seen = {}

    def stop(**options):
        seen.update(dask.config.get('distributed.nanny.pre-spawn-environ'))
        msg = 'only looking'
        raise RuntimeError(msg)

    monkeypatch.setattr(distributed, 'LocalCluster', stop)
    monkeypatch.setattr(os, 'cpu_count', lambda: 64)
    monkeypatch.setattr(os, 'sched_getaffinity',
                        lambda process: set(range(n_cores)), raising=False)
    for name in (*_cluster._THREADS, 'GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('MKL_NUM_THREADS', '5')  # the user's word
    with pytest.raises(OSError, match=f'{workers} workers cannot .*looking'):
        _cluster._local_cluster(workers)
    assert seen == {'OMP_NUM_THREADS': expected, 'MKL_NUM_THREADS': '5',
                    'OPENBLAS_NUM_THREADS': expected,
                    'GOMP_SPINCOUNT': '1000'}


def test_the_usual_port_of_dask_is_left_alone(local):
    # Another cluster of this computer may have it, and no warning is due.
    assert local.scheduler.http_server.port != 8787


def test_cores_where_a_system_does_not_tell(monkeypatch):
    monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 12)
    assert cores.count_cores() == 12
    monkeypatch.setattr(os, 'cpu_count', lambda: None)
    assert cores.count_cores() == 1


def test_without_cryptography(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cryptography', None)
    with pytest.raises(ImportError, match=r'cryptography.*astro_denoise\[da'):
        _cluster._local_cluster(1)
