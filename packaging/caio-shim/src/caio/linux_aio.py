from aiovfs.compat.caio.linux_aio import *  # noqa: F403
