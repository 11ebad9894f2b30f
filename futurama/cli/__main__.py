"""``python -m futurama.cli`` is the same as ``futurama``."""

from futurama.cli import main

main()
