"""Real servers of stores, for tests: nginx, S3, Azure, Google Cloud, and a proxy that counts and makes bad days.

Everything binds 127.0.0.1 on a free port, lives in a temporary directory and is stopped with the test session. The
fixtures are in `servers.fixtures`, loaded by tests/conftest.py; tests import the classes from here.
"""

from servers.azure import AzureServer
from servers.gcs import GCSServer
from servers.moto import MotoServer
from servers.nginx import Nginx
from servers.process import free_port
from servers.proxy import Exchange, Proxy
from servers.s3 import S3Server

__all__ = ["AzureServer", "Exchange", "GCSServer", "MotoServer", "Nginx", "Proxy", "S3Server", "free_port"]
