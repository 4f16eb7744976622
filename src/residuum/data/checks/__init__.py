"""Checks of a data set before anything is trained on it; nothing is changed.

argument -> Contents   names, labels, parts, and what training would pass over   contents.py
         -> Survey     one look at every picture, of each a kilobyte is kept     look.py, survey.py
         -> Pairs      copies among all pictures, near ones too                  candidates.py, align.py, likeness.py
         -> Findings   what is wrong, with the pictures and what to do           copies.py, files.py, classes.py
"""
