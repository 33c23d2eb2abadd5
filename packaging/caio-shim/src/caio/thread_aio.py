from aiovfs.compat.caio.thread_aio import *  # noqa: F403
