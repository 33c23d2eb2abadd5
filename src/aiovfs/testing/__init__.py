"""What authors of file systems and our own tests share.

`fake_kernel` is a kernel to script, `fake_store` a store that fails on request, `forbidden` takes system calls away as
containers do, `strategies` draws requests from the table.
"""
