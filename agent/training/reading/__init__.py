"""Reading data: records of one file, and the splits of files, folders and data sets."""
