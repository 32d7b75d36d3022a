"""Files: the folder convention and its checks, formats, splits, prepared cases, child processes, disks."""
