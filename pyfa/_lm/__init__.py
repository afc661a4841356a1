"""A small language model of bytes, whose attention and cache are pyfa's: what codecs are judged on."""
