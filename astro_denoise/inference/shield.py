# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compute alike however the user has set up torch, and leave it so.
"""

import contextlib
import os
import threading
from collections import Counter
from dataclasses import dataclass, field

__all__ = ['shielded']

_DEVICES = ('cpu', 'cuda', 'mps', 'xpu')


@dataclass
class _Settings:
    """
    Settings that all threads of a process share, while any needs its own.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: Counter = field(default_factory=Counter)  # by thread
    kept: tuple = ()

    def take(self):
        """Set what the package is made for; the first one keeps the rest."""
        import torch

        with self.lock:
            if not self.users:
                self.kept = (torch.get_default_dtype(),
                             torch.are_deterministic_algorithms_enabled(),
                             torch.is_deterministic_algorithms_warn_only_enabled(),
                             [(place, getattr(*place))
                              for place in _tensor_float32()])
                self._set(torch.float32, self.kept[1], self.kept[1],
                          [(place, False) for place, _ in self.kept[3]])
            self.users[threading.get_ident()] += 1

    def leave(self):
        """Give back what was kept, once nobody needs it any more."""
        with self.lock:
            self.users[threading.get_ident()] -= 1
            self.users = +self.users  # without those that have left
            if not self.users:
                self._set(*self.kept)

    @staticmethod
    def _set(dtype, deterministic, warn_only, tensor_float32):
        import torch

        for place, value in tensor_float32:
            setattr(*place, value)

        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        # Where there is only one way to compute, it is told, not refused.
        if deterministic and warn_only != (
                torch.is_deterministic_algorithms_warn_only_enabled()):
            torch.use_deterministic_algorithms(mode=True, warn_only=warn_only)

    def forget_threads(self):
        """In a process that was forked, only one thread came along."""
        self.lock, users = threading.Lock(), self.users
        here = threading.get_ident()
        self.users = Counter({here: users[here]} if users[here] else ())
        if users and not self.users:
            self._set(*self.kept)


def _tensor_float32():
    """
    List where torch keeps if float32 is rounded to TensorFloat-32 on cards.

    For convolutions it is, unless one says otherwise. Who says so with the
    newer settings of torch, operation by operation, is not overruled.
    """
    import torch

    places = []
    for part in (torch.backends.cudnn, torch.backends.cuda.matmul):
        # The two kinds of settings must not be mixed.
        with contextlib.suppress(RuntimeError):
            part.allow_tf32  # noqa: B018
            places.append((part, 'allow_tf32'))
    return places


_settings = _Settings()
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_settings.forget_threads)


def _autocasting():
    """Kinds of devices whose operations change their precision now."""
    import torch

    kinds = []
    for kind in _DEVICES:
        # Not every version knows all of them.
        with contextlib.suppress(RuntimeError):
            if torch.is_autocast_enabled(kind):
                kinds.append(kind)
    return kinds


@contextlib.contextmanager
def shielded():
    """
    Compute as if torch were as it is after its import.

    In the context the default type is float32 and the default device the
    processor, there is neither autocasting nor inference mode, and
    gradients are followed; what is float32 is not rounded to TensorFloat-32
    on cards. An operation that has no deterministic kind is
    warned of where the user has it refused. All is as before at the end,
    and the global random numbers are never drawn from.

    The default type and the refusal of operations belong to the whole
    process: while one thread is in the context, they hold for the others.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.inference import shielded
    >>> with torch.inference_mode(), shielded():
    ...     print(torch.is_inference_mode_enabled())
    False
    """
    import torch

    from .devices import survive_fork

    survive_fork()
    _settings.take()
    try:
        with contextlib.ExitStack() as stack:
            if torch.get_default_device() != torch.device('cpu'):
                stack.enter_context(torch.device('cpu'))
            for kind in _autocasting():
                # Cached weights would outlive a step of a training.
                stack.enter_context(torch.autocast(
                    kind, enabled=False, cache_enabled=False))
            stack.enter_context(torch.inference_mode(mode=False))
            stack.enter_context(torch.enable_grad())
            yield
    finally:
        _settings.leave()
