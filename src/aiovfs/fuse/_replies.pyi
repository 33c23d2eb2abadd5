from aiovfs.fuse.replies import Attributes as Attributes
from aiovfs.fuse.replies import DirEntry as DirEntry
from aiovfs.fuse.replies import Entry as Entry
from aiovfs.fuse.replies import Opened as Opened
