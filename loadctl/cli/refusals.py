"""What a running scan means when it takes a record not, in words for a person."""

from __future__ import annotations

from loadctl.control import MOST_STAGED, Code

REFUSALS = {
    Code.NOT_ALLOWED: "not allowed; root, the user of the site and the group of its socket are",
    Code.NO_RECORD: "the running scan does not understand this version of loadctl",
    Code.UNKNOWN_KIND: "the running scan does not know this command: it is of an older version",
    Code.OTHER_SITE: "the site was started anew meanwhile, with another site file; try again",
    Code.NO_SUCH_CIRCUIT: "the running scan knows no such circuit",
    Code.TAKES_NONE: "the running scan takes no limits from outside for this circuit",
    Code.BUSY: "the running scan is busy with other commands; try again",
    Code.NO_SUCH_KEY: "the running scan does not know this key: it is of another version",
    Code.INCOMPLETE: "not all of the change reached the running scan; try again",
    Code.TOO_MANY: f"more than {MOST_STAGED} values at once",
}
