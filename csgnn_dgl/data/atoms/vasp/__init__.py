"""Calculations of VASP: DOSCAR and vasprun.xml.

``numbers`` reads numbers as Fortran writes them, ``table`` makes the states up to each energy of a table of energy, DOS
and integrated DOS, ``doscar`` and ``vasprun`` read the files, and ``calculation`` pairs DOS and structure.
"""
