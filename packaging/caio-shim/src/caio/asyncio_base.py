from aiovfs.compat.caio.asyncio_base import *  # noqa: F403
