from aiovfs.compat.caio.abstract import *  # noqa: F403
