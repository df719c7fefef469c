"""Writes models/phrase.wav: four bars in E for an electric guitar, 8 s at 120 beats per minute, made to be looped."""
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from neurig.capture.strings import RATE, TUNING, Pluck, pickup, string

# One column is a sixteenth. 0-9: fret, picked; -: goes on; .: stopped; /: slides to the next fret, which is not picked;
# b: bends up a whole tone; ~: vibrato. Last two rows, for all strings: m: palm mute; >: accent.
TAB = """
G|----------2--.--|--------------2-|.---------2--.--|.-2b-0-.--------|
D|2--.--5-.-2--.--|2--.--5-.5/7--2-|2--.--5-.-2--.--|2.----2-0.------|
A|2--.--5-.-0--.--|2--.--5-.3/5--0-|2--.--5-.-0--.--|2.-------2~0.---|
E|0--00-3-00.--003|0--00-3-0.------|0--00-3-00.--003|0.----------3~0-|
m|---mm---mm---mm-|---mm---m-------|---mm---mm---mm-|----------------|
>|>------------>--|>--------->-----|>------------->-|>-->-------->---|
"""
COLUMN = RATE // 8
SECONDS = 8


def rows() -> dict[str, str]:
    return {line[0]: line[2:].replace("|", "") for line in TAB.split("\n") if line}


def play(number: int, line: str, mutes: str, accents: str, rng: np.random.Generator) -> np.ndarray:
    """One string's part, twice and a column more: the second round begins and ends as within a loop."""
    columns = len(line)
    total = 2 * columns + 1
    late = 0.004 + 0.005 * number                       # a downstroke reaches the low strings first
    feel = rng.normal(0, 1, (columns, 2)).clip(-2, 2)   # the same small unevenness in every round
    fret = np.zeros(total * COLUMN)
    stopped, muted = np.ones_like(fret), np.zeros_like(fret)
    plucks, now, held, sliding = [], 0.0, 1.0, False
    for column in range(total):
        sign, mute = line[column % columns], mutes[column % columns] == "m"
        wobble, force = feel[column % columns]
        start = int(column * COLUMN + RATE * (late + 0.002 * wobble + 0.006))
        here = slice(start, start + COLUMN)
        bend = np.zeros(len(fret[here]))
        if sign.isdigit() and not sliding:
            now, held = float(sign), 0.0
            level = (1.2 if mute else 1.0) * (1.3 if accents[column % columns] == ">" else 1.0)
            plucks.append(Pluck(start / RATE, level * (1 + 0.07 * force), 0.13 if mute else 0.17, mute))
        elif sign == ".":
            held = 1.0
        elif sign in "/b":
            goal = now + 2 if sign == "b" else float(line[(column + 1) % columns])
            bend = (goal - now) * (0.5 - 0.5 * np.cos(np.pi * np.linspace(0, 1, len(bend))))
        elif sign == "~":
            bend = 0.25 * (1 - np.cos(2 * np.pi * np.arange(len(bend)) / len(bend)))
        fret[here] = now + bend
        fret[here.stop:] = now = now + (bend[-1] if len(bend) else 0.0)
        stopped[start:] = held
        muted[column * COLUMN:] = mute
        sliding = sign == "/"
    smooth = np.hanning(240) / np.hanning(240).sum()
    stopped, muted = (np.convolve(x, smooth, "same") for x in (stopped, muted))
    return string(number, TUNING[number] * 2 ** (fret / 12), plucks, muted, stopped)


def phrase() -> np.ndarray:
    """The loop, float, peak 0.5."""
    rng = np.random.default_rng(8)
    tab = rows()
    rounds = pickup(sum(play(i, tab[name], tab["m"], tab[">"], rng) for i, name in enumerate("EADG")))
    loop = rounds[SECONDS * RATE:2 * SECONDS * RATE]
    return 0.5 * loop / np.abs(loop).max()


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "phrase.wav"
    dither = np.random.default_rng(0).uniform(-0.5, 0.5, SECONDS * RATE)
    wavfile.write(path, RATE, np.round(phrase() * 32767 + dither).astype(np.int16))
    print(f"{path}: {SECONDS} s, {path.stat().st_size} bytes")
