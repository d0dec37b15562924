"""Published numbers, in dB, by picture; nothing here was measured by us.

Sources: "DIP" is Ulyanov, Vedaldi, Lempitsky, "Deep Image Prior" (its tables "Detailed super-resolution PSNR
comparison" on Set14 and Set5, its comparison with Papyan et al., its section on denoising); the project page
of Shabtay, Schwartz, Giryes, "PIP: Positional-encoding Image Prior", for F16.
"""

from __future__ import annotations

Column = dict[str, float]  # picture: dB

SET14 = (
    "baboon", "barbara", "bridge", "coastguard", "comic", "face", "flowers", "foreman", "lenna", "man",
    "monarch", "pepper", "ppt3", "zebra",
)  # fmt: skip
SET5 = ("baby", "bird", "butterfly", "head", "woman")
SETS = {"set14": SET14, "set5": SET5}
# The comparison's names of the eleven grey pictures, as their files are called.
INPAINTING = (
    "barbara", "boat", "house", "lena", "peppers", "cameraman", "couple", "fingerprint", "hill", "man",
    "montage",
)  # fmt: skip


def _both(set14: str, set5: str) -> Column:
    """ "man" and the others are in Set14 alone: no picture has one name in both sets."""
    numbers = (set14 + " " + set5).split()
    return dict(zip(SET14 + SET5, map(float, numbers), strict=True))


TABLES: dict[str, dict[str, Column]] = {
    "sr4": {
        "DIP": _both(
            "22.29 25.53 24.38 25.81 22.18 31.02 26.14 31.66 30.83 26.09 29.98 32.08 24.38 25.71",
            "31.49 31.80 26.23 31.04 28.93",
        ),
        "bicubic": _both(
            "22.44 25.15 24.47 25.53 21.59 31.34 25.33 29.45 29.84 25.7 27.45 30.63 21.78 24.01",
            "31.78 30.2 22.13 31.34 26.75",
        ),
        "TV": _both(
            "22.34 24.78 24.46 25.78 21.95 31.34 25.91 30.63 29.76 25.94 28.46 31.32 22.75 24.52",
            "31.21 30.43 24.38 31.34 26.93",
        ),
        "no prior": _both(
            "22.24 24.89 23.94 24.62 21.06 29.99 23.75 29.01 28.23 24.84 25.76 28.74 20.26 21.69",
            "30.16 27.67 19.82 29.98 25.18",
        ),
        "Glasner et al.": _both(
            "22.44 25.38 24.73 25.38 21.98 31.09 25.54 30.40 30.48 26.33 28.22 32.02 22.16 24.34",
            "32.24 31.10 22.36 31.69 26.85",
        ),
    },
    "sr8": {
        "DIP": _both(
            "21.38 23.94 22.20 24.21 19.86 29.52 22.86 27.87 27.93 23.57 24.86 29.18 20.12 20.62",
            "28.28 27.09 20.02 29.55 24.50",
        ),
        "bicubic": _both(
            "21.28 23.44 22.24 23.65 19.25 28.79 22.06 25.37 26.27 23.06 23.18 26.55 18.62 19.59",
            "27.28 25.28 17.74 28.82 22.74",
        ),
        "TV": _both(
            "21.30 23.72 22.30 23.82 19.50 28.84 22.50 26.07 26.74 23.53 23.71 27.56 19.34 19.89",
            "27.93 25.82 18.40 28.87 23.36",
        ),
        "no prior": _both(
            "21.09 23.04 21.78 23.63 18.65 27.84 21.05 25.62 25.42 22.54 22.91 25.34 18.15 18.85",
            "26.28 24.03 17.64 27.94 21.37",
        ),
        "SelfExSR": _both(
            "21.37 23.90 22.28 24.17 19.79 29.48 22.93 27.01 27.72 23.83 24.02 28.63 20.09 20.25",
            "28.45 26.48 18.80 29.36 24.05",
        ),
    },
    "inpaint50": {
        "DIP": dict(
            zip(
                INPAINTING,
                (32.22, 33.06, 39.16, 36.16, 33.05, 29.8, 32.52, 32.84, 32.77, 32.20, 34.54),
                strict=True,
            )
        ),
        "Papyan et al.": dict(
            zip(
                INPAINTING,
                (28.14, 31.44, 34.58, 35.04, 31.11, 27.90, 31.18, 31.34, 32.35, 31.92, 28.05),
                strict=True,
            )
        ),
    },
    "denoise": {"PIP": {"f16": 30.48}, "DIP": {"f16": 30.2}},
    "video": {},
}

# Published only as means over all pictures of a set. The third word says how many runs were averaged.
NINE = ("baboon", "f16", "house", "lena", "peppers", "kodim01", "kodim02", "kodim03", "kodim12")
MEANS: dict[tuple[str, str, str], tuple[tuple[str, ...], float]] = {
    ("denoise", "DIP", "1"): (NINE, 30.43),
    ("denoise", "DIP", "2"): (NINE, 31.00),
    ("denoise", "NLM", ""): (NINE, 30.26),
    ("denoise", "BM3D", ""): (NINE, 31.42),
}
NOTES: dict[str, str] = {
    "denoise": (
        "Published means over nine pictures: DIP 30.43 (average of outputs), 29.22 without it, 31.00 as the "
        "mean of two runs; NLM 30.26, CBM3D 31.42. They stand beside ours where all nine were run."
    ),
    "video": (
        "Published means (PSNR / 3D-SSIM) over clips of DAVIS: PIP as one net for the whole clip 30.09 / "
        "0.931, 3D-DIP 26.41 / 0.86. Which frames and what size is not published."
    ),
}


def mean_over(column: Column, pictures: list[str]) -> float | None:
    """The published mean over these pictures; None unless every one of them was published."""
    if not pictures or any(picture not in column for picture in pictures):
        return None
    return sum(column[picture] for picture in pictures) / len(pictures)


def mean_of(table: str, method: str, ensemble: str, pictures: list[str]) -> float | None:
    """The published mean of a method over exactly these pictures, None if there is none.

    Args:
        ensemble: of how many runs ours is the average, as in ``Row``; single runs were published by picture.
    """
    whole, value = MEANS.get((table, method, ensemble), ((), 0.0))
    if whole and set(whole) == set(pictures):
        return value
    return mean_over(TABLES[table].get(method, {}), pictures) if ensemble in ("", "1") else None
