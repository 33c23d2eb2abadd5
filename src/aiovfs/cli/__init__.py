"""The command line: a file per command, presentation in `ui`, errors and exit codes in `main`.

Modules here import click and the standard library at their top, everything else inside the functions that need it:
`aiovfs --help` and shell completion load all of them, and must be quick.
"""
