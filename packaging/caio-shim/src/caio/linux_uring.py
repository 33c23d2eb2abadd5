from aiovfs.compat.caio import linux_uring as _served
from aiovfs.compat.caio.linux_uring import *  # noqa: F403


def __getattr__(name):
    return getattr(_served, name)  # SQPOLL_ALLOWED is found out when somebody asks
