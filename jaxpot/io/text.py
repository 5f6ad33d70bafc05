"""Numbers in the text files of other codes."""

from pathlib import Path


def number(text: str, where: str | Path) -> float:
    """A number as C or Fortran (exponents with D) writes it.

    Args:
      text: one word.
      where: the file or its part, for the message.

    Raises:
      ValueError: if it is none.

    Example:
      >>> number("1.5D-3", "si.xml")
      0.0015
    """
    try:
        return float(text.strip().replace("D", "E").replace("d", "e"))
    except ValueError:
        raise ValueError(f"{where}: expected a number, got {text!r}") from None
