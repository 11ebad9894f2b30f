"""The backends that come with Futurama, one module each; ``import futurama.backends.memory``."""
