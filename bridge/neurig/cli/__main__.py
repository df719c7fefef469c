"""``python -m neurig.cli`` is the ``neurig`` command."""

from neurig.cli import main

main()
