# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tables that benchmarks print, a row when it is known.
"""

from dataclasses import dataclass

__all__ = ['Column', 'Columns']


@dataclass(frozen=True)
class Column:
    """
    A column of a table.

    Parameters
    ----------
    key : str
        Of its value in a row.

    title : str
        Its head; the key by default.

    digits : int
        Behind the decimal point.

    width : int
        Characters, without those of the error.

    error : str
        Key of the error of the value, if it has one.
    """

    key: str
    title: str = ''
    digits: int = 3
    width: int = 8
    error: str = ''

    @property
    def head(self):
        """The head, as wide as a cell."""
        text = f'{self.title or self.key:>{self.width}s}'
        return text + ' ' * len(self._margin(0.0))

    def _margin(self, error):
        return f' ± {error:.{self.digits}f}' if self.error else ''

    def cell(self, row):
        """The value in a row, and its error."""
        value = row[self.key]
        if isinstance(value, str):
            return f'{value:>{self.width}s}'
        return (f'{value:{self.width}.{self.digits}f}'
                + self._margin(row[self.error] if self.error else 0.0))


class Columns:
    """
    The columns of a table, of which the first holds names.

    Parameters
    ----------
    name : `Column`
        The first, left-aligned.

    *columns : `Column`
        Those of numbers.
    """

    def __init__(self, name, *columns):
        self.name = name
        self.columns = columns

    @property
    def head(self):
        """The line of the heads."""
        title = self.name.title or self.name.key
        return f'{title:{self.name.width}s}' + ''.join(
            column.head for column in self.columns)

    def line(self, row, *, n_first=0, blank=False):
        """
        The line of a row.

        Parameters
        ----------
        row : dict
            Values by key.

        n_first : int
            So many columns of numbers hold for several lines.

        blank : bool
            Whether these are left blank, as their name is.
        """
        text = f'{row[self.name.key]:{self.name.width}s}'
        parts = [column.cell(row) for column in self.columns]
        if blank:
            text = ' ' * len(text)
            parts[:n_first] = [' ' * len(part) for part in parts[:n_first]]
        return text + ''.join(parts)
