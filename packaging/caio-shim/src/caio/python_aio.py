from aiovfs.compat.caio.python_aio import *  # noqa: F403
