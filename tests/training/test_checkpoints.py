# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of checkpoints.
"""

import pytest
import torch

from astro_denoise.training.checkpoints import Checkpoint

CONFIGURATION = {'method': 'toy', 'seed': 3, 'widths': (6, 8)}


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint(tmp_path / 'state.pt')


def test_what_is_written_is_read(checkpoint):
    assert checkpoint.read(CONFIGURATION) is None
    assert checkpoint.configuration() == {}
    checkpoint.write(CONFIGURATION, {'step': 5, 'a': torch.arange(3)})
    state = checkpoint.read(CONFIGURATION)
    assert set(state) == {'step', 'a'}
    assert state['step'] == 5
    assert torch.equal(state['a'], torch.arange(3))
    assert checkpoint.configuration() == {**CONFIGURATION, 'widths': [6, 8]}


def test_another_configuration(checkpoint):
    checkpoint.write(CONFIGURATION, {'step': 5})
    with pytest.raises(ValueError, match=(
            r'state\.pt was written for .*"seed": 3.*, not for .*"seed": 4')):
        checkpoint.read({**CONFIGURATION, 'seed': 4})


@pytest.mark.parametrize('content', [b'', b'abc'])
def test_damaged(checkpoint, content):
    checkpoint.path.write_bytes(content)
    for read in (lambda: checkpoint.read(CONFIGURATION),
                 checkpoint.configuration):
        with pytest.raises(OSError, match='is not a whole checkpoint'):
            read()


def test_no_checkpoint():
    checkpoint = Checkpoint()
    checkpoint.write(CONFIGURATION, {'step': 5})
    assert checkpoint.read(CONFIGURATION) is None
    assert checkpoint.configuration() == {}
    assert checkpoint.sibling('other.pt') is checkpoint


def test_sibling(tmp_path):
    other = Checkpoint(tmp_path / 'state.pt', 7.0).sibling('other.pt')
    assert other == Checkpoint(tmp_path / 'other.pt', 7.0)


def test_first_checkpoint_comes_soon():
    assert Checkpoint('state.pt').pause(first=True) <= 30.0
    assert Checkpoint('state.pt').pause() == 180.0
    assert Checkpoint('state.pt', 0.01).pause(first=True) == 0.6


def test_partial_files_of_a_killed_process_go(checkpoint, monkeypatch):
    removed = []
    monkeypatch.setattr('astro_denoise.training.checkpoints.remove_leftovers',
                        removed.append)
    checkpoint.read(CONFIGURATION)
    assert removed == [checkpoint.path.parent]
