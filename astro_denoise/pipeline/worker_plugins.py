# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Plugins of the workers of a local cluster.
"""

from ..exceptions import needs_extra

with needs_extra('dask', 'for several workers'):
    from distributed import WorkerPlugin

__all__ = ['NoServer']


class NoServer(WorkerPlugin):
    """
    Stop the web server of a worker, which nobody has asked for.
    """

    def setup(self, worker):
        """
        Stop it, once it is there.

        Parameters
        ----------
        worker : `distributed.Worker`
            The worker.
        """
        worker.http_server.stop()
