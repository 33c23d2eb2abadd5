from aiovfs.compat.caio.linux_uring_asyncio import *  # noqa: F403
