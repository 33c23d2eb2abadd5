from aiovfs.compat.caio.thread_aio_asyncio import *  # noqa: F403
