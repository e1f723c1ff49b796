"""Cuts the power of the file system below a directory: what has not been synced is gone.

Usage: power_cut.py DIRECTORY, as root. Says `ready`, waits for a line, cuts, says `cut`. Without a
line, at the end of its input, it leaves everything as it is. The system call is made here because
Rust can make it only with unsafe code, which this tree has none of.
"""

import fcntl
import os
import struct
import sys

# From linux/fs.h; ext4, XFS and F2FS have it.
FS_IOC_SHUTDOWN = 0x8004587D
# Not even what the journal has in memory is written.
NO_LOG_FLUSH = 2

directory = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
print("ready", flush=True)
if sys.stdin.readline():
    fcntl.ioctl(directory, FS_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    # It must not keep the file system busy.
    os.close(directory)
    print("cut", flush=True)
