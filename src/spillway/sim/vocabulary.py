"""The words that simulated models speak in: 256 of them, so that one byte of a hash picks one."""

from __future__ import annotations

_TEXT = """
able about above across after again air all along also always among ancient and animal answer any apple area arm
around art autumn away back bank base bay be beach bear because bed before began behind below best better between
big bird black blue boat body book both bottom box branch bread bridge bright bring brook brown build calm came
canal can car careful carry case cause center chair change child circle city clay clean clear close cloth cloud
coast cold color come common copper corn count country course cover cross current cut dark day deep desk dew
distant door down draw dream dry early earth east easy edge eight engine enough even evening ever every eye face
fact fall family far farm fast father feather few field fig final find fine fire first fish five flat floor flow
flower follow food foot force forest form found four fresh friend frost front full game garden gate gave gentle
give glass go gold good grain grand grass gray great green ground group grow half hand harbor hard harvest head
hear heart heat heavy help here high hill hold home honest horse hour house hundred idea inland island join journey
just keep kind king lake lamp land lantern large last late leaf learn left letter level light limit line listen
little long low main make many map marble mark may meadow measure meet metal might mile mill mind minute mirror
moment moon more morning most mountain move music name narrow near night north note ocean open orange other
"""

WORDS: tuple[str, ...] = tuple(_TEXT.split()[:256])

SPACED: tuple[str, ...] = tuple(f" {word}" for word in WORDS)
OPENING: tuple[str, ...] = tuple(word.capitalize() for word in WORDS)
