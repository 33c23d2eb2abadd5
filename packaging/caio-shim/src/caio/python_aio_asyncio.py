from aiovfs.compat.caio.python_aio_asyncio import *  # noqa: F403
