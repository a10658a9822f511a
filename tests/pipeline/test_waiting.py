# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of how threads wait in processes of the package.
"""

import os
import subprocess
import sys

import pytest

from astro_denoise.cli import main

SCRIPT = """
import os, sys
from astro_denoise.cli import main
sys.argv = ['astro-denoise', '--version']
main({args})
print(os.environ.get('GOMP_SPINCOUNT'))
"""


def variable_after(args, **variables):
    """
    ``GOMP_SPINCOUNT`` after the command in a process of its own.
    """
    environment = {name: value for name, value in os.environ.items()
                   if name not in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')}
    done = subprocess.run([sys.executable, '-c', SCRIPT.format(args=args)],
                          capture_output=True, text=True, check=True,
                          env=environment | variables)
    return done.stdout.splitlines()[-1]


def test_the_command_waits_briefly():
    assert variable_after('') == '1000'


@pytest.mark.parametrize(('variables', 'expected'), [
    ({'GOMP_SPINCOUNT': '7'}, '7'), ({'OMP_WAIT_POLICY': 'active'}, 'None')])
def test_the_word_of_the_user_counts(variables, expected):
    assert variable_after('', **variables) == expected


def test_a_call_from_python_changes_nothing(monkeypatch):
    assert variable_after("['--version']") == 'None'
    before = dict(os.environ)
    main(['--version'])
    assert dict(os.environ) == before
