"""Shards: a data set in tar files, as WebDataset has them, that are read where they lie or through a pipe.

pattern.py   what the user writes -> the places of the shards
index.py     what is kept beside shards written here: classes, and for each picture its name, label and place
tars.py      a tar -> its pictures and labels, where there is no index
listing.py   places -> Shards, everything known before a picture is read
reading.py   Shards -> pictures
writing.py   any data set -> shards, read back and compared
"""
