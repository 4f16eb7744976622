"""The kinds of findings in words: how bad each is, what it is called, and what to do. The worst come first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Kind:
    """`one` and `many` say what was found, after its number; `advice` what to do."""

    severity: Severity
    one: str
    many: str
    advice: str


KINDS: dict[str, Kind] = {
    "label-conflict": Kind(
        "error",
        "picture under more than one class",
        "pictures under more than one class",
        "Decide which class is right and remove the other copies. Until then leave all of them out: whatever a "
        "network answers, it is told that it is wrong.",
    ),
    "leakage": Kind(
        "error",
        "picture in more than one of train, val and test",
        "pictures in more than one of train, val and test",
        "What is known by heart counts as recognised, so the measured error is too low. Leave out the copies in "
        "train (of val and test, those in val).",
    ),
    "one-class": Kind(
        "error",
        "class only",
        "classes only",
        "A classifier needs two. Put the pictures of each class into a folder of its own.",
    ),
    "class-not-trained": Kind(
        "error",
        "class that is not in train",
        "classes that are not in train",
        "Training refuses this: a network cannot name what it never saw. Add pictures to train, or remove the "
        "class from the other part. Is it spelt alike in both?",
    ),
    "class-names": Kind(
        "error",
        "class name spelt in more than one way",
        "class names spelt in more than one way",
        "They differ by case, blanks or hyphens only, and would be classes of their own. Rename the folders.",
    ),
    "unreadable": Kind(
        "error",
        "unreadable file",
        "unreadable files",
        "Training leaves them out, and stops at more than one in a hundred. Get them again, or remove them.",
    ),
    "part-as-class": Kind(
        "warning",
        "class called as a part is",
        "classes called as parts are",
        "Pictures lie in these folders directly, so they were taken for classes. If they are parts, put a folder for "
        "each class into each of them; if one is a class by that name, give the data as a csv: table to be sure.",
    ),
    "validation-leakage": Kind(
        "warning",
        "picture on both sides of the validation part that training would hold out",
        "pictures on both sides of the validation part that training would hold out",
        "The validation error would come out too low. Leave out all copies but one; or give the data as a csv: "
        "table with a group column, and a group stays on one side.",
    ),
    "duplicate": Kind(
        "warning",
        "picture there more than once",
        "pictures there more than once",
        "Each counts as often as it is there. Keep one.",
    ),
    "near-duplicate": Kind(
        "warning",
        "picture with near copies",
        "pictures with near copies",
        "Resized, recompressed, mirrored, turned or slightly cropped, or taken moments apart. Look at them, and keep "
        "one of each unless they are meant as different views.",
    ),
    "look-alike": Kind(
        "warning",
        "crowd of pictures that look nearly the same",
        "crowds of pictures that look nearly the same",
        "A film, or parts before a fixed camera? Here copies cannot be told from other shots, so the list of files to "
        "leave out has none of them. Keep shots of one scene on one side: give a csv: table with a group column.",
    ),
    "shortcut": Kind(
        "warning",
        "class that can be told by how its files are made",
        "classes that can be told by how their files are made",
        "A network may learn that instead of the class, and fail on pictures from elsewhere. Take all classes from "
        "the same sources, or convert all to the same size, format and colours.",
    ),
    "picture-passed-over": Kind(
        "warning",
        "picture that training would not see",
        "pictures that training would not see",
        "Give it a name that ends in .jpg, .png, ... or move it into a class folder; else move it away.",
    ),
    "empty-class": Kind(
        "warning",
        "class without pictures",
        "classes without pictures",
        "Training stops at a class without pictures. Add some, or remove the folder.",
    ),
    "single-picture-class": Kind(
        "warning",
        "class with one picture",
        "classes with one picture",
        "Nothing can be held out of it, and one picture teaches little. Add more, or join it to another class.",
    ),
    "imbalance": Kind(
        "warning",
        "class much larger than another",
        "classes much larger than another",
        "A network that always names the larger class is often right. Look at the recall of each class rather than "
        "at the error; add pictures, or weigh the classes in training.",
    ),
    "blank": Kind(
        "warning",
        "blank picture",
        "blank pictures",
        "They show nothing but one tone. Leave them out, unless that is what a class is about.",
    ),
    "odd": Kind(
        "warning",
        "picture unlike the others of its class",
        "pictures unlike the others of their class",
        "By brightness, contrast, colour or detail. Do they belong? A placeholder, a screenshot or a drawing among "
        "photos does not.",
    ),
    "tiny": Kind(
        "warning",
        "tiny picture",
        "tiny pictures",
        "Enlarged to the size of the others they show little. Are they previews of others?",
    ),
    "extreme-aspect": Kind(
        "warning",
        "picture very long or very high",
        "pictures very long or very high",
        "A network sees the square in the middle; the rest is cut off. Cut them to the part that matters.",
    ),
    "class-not-tested": Kind(
        "note",
        "class of train that is not in val or test",
        "classes of train that are not in val or test",
        "The error measured there says nothing about them.",
    ),
    "mixed-colour": Kind(
        "note",
        "picture grey among coloured ones, or coloured among grey ones",
        "pictures grey among coloured ones, or coloured among grey ones",
        "Harmless where they are spread over the classes. If colour does not matter, train on grey: --channels 1.",
    ),
    "wrong-suffix": Kind(
        "note",
        "file of another format than its name says",
        "files of other formats than their names say",
        "They are read all the same; other programs may refuse them. Rename them.",
    ),
    "animated": Kind(
        "note",
        "file with several frames or pages",
        "files with several frames or pages",
        "Only the first counts. Take the frame that shows the class, or one picture for each.",
    ),
    "colour-space": Kind(
        "note",
        "picture in another colour space than RGB or grey",
        "pictures in another colour space than RGB or grey",
        "They become RGB without a colour profile, so that colours may be off. Convert them where colour matters.",
    ),
    "deep": Kind(
        "note",
        "picture with more than eight bits a sample",
        "pictures with more than eight bits a sample",
        "16-bit samples are divided by 257; floating point is stretched from its least to its greatest value. "
        "Convert them yourself where that is not what the values mean.",
    ),
    "rotated": Kind(
        "note",
        "picture to be turned as EXIF says",
        "pictures to be turned as EXIF says",
        "They are turned alike in training and prediction. Boxes or masks drawn in another program may not be.",
    ),
    "transparent": Kind(
        "note",
        "picture with transparency",
        "pictures with transparency",
        "It is laid over white. Where only one class has it, that is a hint that a network will take.",
    ),
    "huge": Kind(
        "note",
        "huge picture",
        "huge pictures",
        "Each is decoded in full in every epoch. Smaller copies train faster and no worse.",
    ),
    "passed-over": Kind(
        "note",
        "other file beside the pictures",
        "other files beside the pictures",
        "Hidden, no picture, or a link that leads nowhere new: ignored.",
    ),
}
