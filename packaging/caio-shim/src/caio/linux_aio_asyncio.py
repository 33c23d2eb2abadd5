from aiovfs.compat.caio.linux_aio_asyncio import *  # noqa: F403
