# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of outputs that are complete or not there.
"""

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from astro_denoise.io import output as _output
from astro_denoise.io.output import (
    atomic_output,
    check_output,
    check_replaces_none,
    make_folder,
    remove_leftovers,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_while_it_appears(path):
    with atomic_output(path) as temporary:
        temporary.write_text('mine')
        path.write_text('theirs')


def test_nothing_before_it_is_complete(tmp_path):
    path = tmp_path / 'a.txt'
    with atomic_output(path) as temporary:
        temporary.write_text('text')
        assert not path.exists()
        assert temporary.parent == tmp_path
    assert path.read_text() == 'text'
    assert names(tmp_path) == ['a.txt']


def test_flushed_as_a_file_that_may_be_written(tmp_path, monkeypatch):
    """
    Windows refuses any other, and no output could be made there.
    """
    flushed = []
    monkeypatch.setattr(os, 'fsync',
                        lambda descriptor: flushed.append(
                            os.write(descriptor, b'more')))
    with atomic_output(tmp_path / 'a.txt') as temporary:
        temporary.write_text('some text')
    assert flushed == [4]


@pytest.mark.parametrize('failure', [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError('no space'), ValueError('bad'), KeyboardInterrupt()])
def test_failure(tmp_path, failure):
    path = tmp_path / 'a.txt'
    path.write_text('old')

    def write():
        with atomic_output(path, overwrite=True) as temporary:
            temporary.write_text('half')
            raise failure

    with pytest.raises(type(failure)) as raised:
        write()
    if isinstance(failure, OSError):
        assert raised.value.filename == str(path)
    assert path.read_text() == 'old'
    assert names(tmp_path) == ['a.txt']


def test_nothing_written(tmp_path):
    with (pytest.raises(FileNotFoundError) as raised,
          atomic_output(tmp_path / 'a.txt')):
        pass
    assert raised.value.filename == str(tmp_path / 'a.txt')


def test_file_that_appears_meanwhile(tmp_path):
    path = tmp_path / 'a.txt'
    with pytest.raises(FileExistsError) as raised:
        write_while_it_appears(path)
    assert raised.value.filename == str(path)
    assert path.read_text() == 'theirs'
    assert names(tmp_path) == ['a.txt']


def test_without_hard_links(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EPERM, 'no links', str(source))

    monkeypatch.setattr(os, 'link', refuse)
    path = tmp_path / 'a.txt'
    with atomic_output(path) as temporary:
        temporary.write_text('mine')
    assert path.read_text() == 'mine'
    with pytest.raises(FileExistsError):
        write_while_it_appears(tmp_path / 'b.txt')
    assert names(tmp_path) == ['a.txt', 'b.txt']
    assert (tmp_path / 'b.txt').read_text() == 'theirs'


def test_read_only_file_system(tmp_path, monkeypatch):
    def refuse(path, *args, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, 'write_text', refuse)
    monkeypatch.setattr(Path, 'unlink', refuse)
    with pytest.raises(OSError, match='Read-only') as raised, atomic_output(
            tmp_path / 'a.txt') as temporary:
        temporary.write_text('text')
    assert raised.value.filename == str(tmp_path / 'a.txt')


def test_one_of_many_threads_wins(tmp_path):
    path = tmp_path / 'a.txt'
    barrier = threading.Barrier(8)
    won = []

    def write(number):
        try:
            with atomic_output(path) as temporary:
                temporary.write_text(str(number))
                barrier.wait()
            won.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(number,))
               for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == str(won[0])
    assert len(won) == 1
    assert names(tmp_path) == ['a.txt']


def test_link_is_followed(tmp_path):
    target = tmp_path / 'target.txt'
    target.write_text('old')
    link = tmp_path / 'link.txt'
    link.symlink_to(target)
    with atomic_output(link, overwrite=True) as temporary:
        temporary.write_text('new')
    assert link.is_symlink()
    assert target.read_text() == 'new'


@pytest.mark.parametrize(('failure', 'number'), [
    (OSError('512 requested and 100 written'), errno.EIO),
    (OSError('Not enough space on disk: requested 9'), errno.ENOSPC)])
def test_error_without_number(tmp_path, failure, number):
    def write():
        with atomic_output(tmp_path / 'a.txt'):
            raise failure

    with pytest.raises(OSError, match=r'a\.txt') as raised:
        write()
    assert raised.value.errno == number


@pytest.mark.parametrize('name', [
    'Ein Bild für alle.fits', '\u661f\u7cfb.fits', 'n' * 250 + '.fit'])
def test_name(tmp_path, name):
    with atomic_output(tmp_path / name) as temporary:
        temporary.write_text('text')
    assert names(tmp_path) == [name]


def test_no_folder(tmp_path):
    with (pytest.raises(FileNotFoundError, match='no such folder'),
          atomic_output(tmp_path / 'no' / 'a.txt')):
        pass


@pytest.mark.parametrize('name', ['folder', 'loop'])
def test_no_regular_file(tmp_path, name):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    with (pytest.raises(OSError, match=name),
          atomic_output(tmp_path / name, overwrite=True) as temporary):
        temporary.write_text('text')
    assert names(tmp_path) == ['folder', 'loop']


def test_device():
    with (pytest.raises(OSError, match='not a regular file'),
          atomic_output('/dev/null', overwrite=True)):
        pass


@pytest.mark.parametrize('name', ['a.fits', 'A.FITS', 'a.b.fit.gz'])
def test_ending(tmp_path, name):
    endings = {'endings': ('.fits', '.fit'), 'packed': ('.gz',)}
    assert check_output(tmp_path / name, **endings) == tmp_path / name
    (tmp_path / 'a.txt').touch()
    # Another name is wanted, and not to replace what has this one.
    with pytest.raises(ValueError, match=(
            r'^-o must end in \.fits or \.fit \(and may in \.gz after it\), '
            r"got '.*a\.txt'$")):
        check_output(tmp_path / 'a.txt', name='-o', **endings)
    with pytest.raises(ValueError, match=r'output must end in \.fits or'):
        check_output(tmp_path / 'a.gz', **endings)
    with pytest.raises(ValueError, match=r"in \.csv, got '.*a\.csv\.gz'"):
        check_output(tmp_path / 'a.csv.gz', endings=('.csv',))


def test_folder(tmp_path):
    folder = tmp_path / 'new' / 'a.b'
    assert make_folder(folder) == folder
    assert make_folder(folder) == folder
    (folder / 'file').touch()
    with pytest.raises(NotADirectoryError, match='not a folder') as raised:
        make_folder(folder / 'file')
    assert raised.value.filename == str(folder / 'file')
    with pytest.raises(ValueError, match=r"output must be .*c\.FITS'"):
        make_folder(tmp_path / 'c.FITS', name='output')
    assert make_folder(f'{tmp_path / "c.fits"}{os.sep}').is_dir()
    assert make_folder(tmp_path / 'c.fits').is_dir()


@pytest.mark.skipif(os.name != 'posix', reason='needs processes of POSIX')
def test_leftovers_of_killed_processes(tmp_path):
    code = ('import sys\n'
            'from astro_denoise.io.output import atomic_output\n'
            'with atomic_output(sys.argv[1]) as temporary:\n'
            '    temporary.write_text("half")\n'
            '    print(temporary.name, flush=True)\n'
            '    sys.stdin.read()\n')
    with subprocess.Popen(
            [sys.executable, '-c', code, str(tmp_path / 'a.txt')],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True) as process:
        name = process.stdout.readline().strip()
        assert names(tmp_path) == [name]
        # It is alive, and may still finish.
        assert remove_leftovers(tmp_path) == []
        process.kill()
        process.wait()
    (tmp_path / '.astro_denoise-mine.part').touch()
    (tmp_path / 'b.txt').touch()
    assert remove_leftovers(tmp_path) == [tmp_path / name]
    assert names(tmp_path) == ['.astro_denoise-mine.part', 'b.txt']


def test_leftovers_of_a_process_with_the_number_of_another(tmp_path):
    with atomic_output(tmp_path / 'a.txt') as temporary:
        temporary.write_text('half')
        host, number, start, token = temporary.name[15:-5].split('-')
        if start == '0':
            pytest.skip('the start of a process is not known here')
        old = temporary.with_name(
            f'.astro_denoise-{host}-{number}-{int(start) - 1}-{token}.part')
        old.touch()
        assert remove_leftovers(tmp_path) == [old]
    assert names(tmp_path) == ['a.txt']


def test_leftovers_of_another_computer(tmp_path, monkeypatch):
    here = _output._host()
    monkeypatch.setattr(_output, '_host', lambda: '0' * 8)
    with atomic_output(tmp_path / 'a.txt') as temporary:
        temporary.write_text('half')
        monkeypatch.setattr(_output, '_host', lambda: here)
        assert remove_leftovers(tmp_path) == []
        long_ago = time.time() - 2 * 86400
        os.utime(temporary, (long_ago, long_ago))
        assert remove_leftovers(tmp_path) == [temporary]
        temporary.write_text('again')


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name != 'posix', reason='permissions of POSIX')
@pytest.mark.parametrize('permissions', [0o600, 0o640, 0o664, 0o444, 0o777])
def test_what_is_replaced_keeps_its_permissions(tmp_path, permissions):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    path.chmod(permissions)
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_text('new')
    assert path.read_text() == 'new'
    assert mode(path) == permissions
    # A new one has those that files have.
    for name in ('b.txt', 'c.txt'):
        with atomic_output(tmp_path / name,
                           overwrite=name == 'c.txt') as temporary:
            temporary.write_text('new')
    (tmp_path / 'd.txt').write_text('plain')
    assert mode(tmp_path / 'b.txt') == mode(tmp_path / 'c.txt') == mode(
        tmp_path / 'd.txt')


@pytest.mark.skipif(os.name != 'posix', reason='permissions of POSIX')
def test_no_rights_of_a_program_are_kept(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    path.chmod(0o6755)
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_text('new')
    assert mode(path) == 0o755


def test_link_into_a_folder_that_is_not_there(tmp_path):
    link = tmp_path / 'a.fits'
    link.symlink_to(tmp_path / 'no' / 'a.fits')
    with pytest.raises(FileNotFoundError, match='is a link into a folder that '
                       'is not there') as error:
        check_output(link)
    assert error.value.filename == str(link)
    assert str(tmp_path / 'no') in str(error.value)


def test_link_to_nothing_is_filled(tmp_path):
    link = tmp_path / 'a.txt'
    link.symlink_to('b.txt')
    with atomic_output(link) as temporary:
        temporary.write_text('new')
    assert link.is_symlink()
    assert (tmp_path / 'b.txt').read_text() == 'new'


@pytest.mark.parametrize('kind', ['same', 'relative', 'link', 'hard', 'dots'])
def test_output_that_is_an_input(tmp_path, monkeypatch, kind):
    path = tmp_path / 'a.fits'
    path.write_text('precious')
    other = tmp_path / 'b.fits'
    if kind == 'link':
        other.symlink_to(path)
    elif kind == 'hard':
        os.link(path, other)
    elif kind == 'dots':
        other = tmp_path / '..' / tmp_path.name / 'a.fits'
    elif kind == 'relative':
        monkeypatch.chdir(tmp_path)
        other = 'a.fits'
    else:
        other = str(path)
    with pytest.raises(ValueError, match=r'^-o must be another file') as error:
        check_replaces_none(other, [None, 3, 'no.fits', path], name='-o')
    assert str(other) in str(error.value)
    assert str(path) in str(error.value)
    check_replaces_none(tmp_path / 'c.fits', [path])
