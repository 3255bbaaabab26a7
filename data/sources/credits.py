"""Credits and limits of the data sources that the shipped weights were trained on.

CC BY licenses require the names of the authors, the license, and a note on what was changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownSource:
    """A source without reports that radiologists wrote for images of adults."""

    credit: str
    limit: str


_HANNOVER = KnownSource(
    credit="Hinrich B. Winther et al.: “COVID-19 Image Repository”, Hannover Medical School, figshare, 2020, "
    "doi:10.6084/m9.figshare.12275009, CC BY 3.0 (https://creativecommons.org/licenses/by/3.0/). Changed: "
    "converted to grayscale and downscaled.",
    limit="The X-rays from Hannover have no reports.",
)

KNOWN_SOURCES = {
    "synthetic": KnownSource(
        credit="Synthetic studies of this project (`python -m data.prepare synthetic`), Apache-2.0.",
        limit="The synthetic studies are schematic phantoms with reports from a grammar. Results on them show that the "
        "code works and that the model uses the image; they say nothing about patients.",
    ),
    "kermany": KnownSource(
        credit="Daniel Kermany, Kang Zhang, Michael Goldbaum: “Labeled Optical Coherence Tomography (OCT) and Chest "
        "X-Ray Images for Classification”, Mendeley Data, 2018, doi:10.17632/rscbjbr9sj, CC BY 4.0 "
        "(https://creativecommons.org/licenses/by/4.0/); described in Kermany et al., Cell 172, 2018. Changed: "
        "converted to grayscale and downscaled. The reports beside the images are not from this data set.",
        limit="The pneumonia X-rays show children of one hospital, and most of them are ill. The only labels are "
        "whether there is pneumonia, and of which kind. The reports that the model was trained on were composed from "
        "these labels, in the language of the synthetic studies. No radiologist wrote them.",
    ),
    "nih": KnownSource(
        credit="Xiaosong Wang, Yifan Peng, Le Lu, Zhiyong Lu, Mohammadhadi Bagheri, Ronald M. Summers: “ChestX-ray8: "
        "Hospital-scale Chest X-ray Database and Benchmarks on Weakly-Supervised Classification and Localization of "
        "Common Thorax Diseases”, CVPR 2017, doi:10.1109/CVPR.2017.369; images provided by the NIH Clinical Center "
        "(https://nihcc.app.box.com/v/ChestXray-NIHCC), free to use with this citation. Changed: converted to "
        "grayscale and downscaled. The reports beside the images are not from this data set.",
        limit="The labels of the X-rays of NIH were read from reports by a program, and some are wrong. They say "
        "nothing about side, severity, fractures and devices. The reports that the model was trained on were composed "
        "from these labels, in the language of the synthetic studies. No radiologist wrote them.",
    ),
    "rsna_normals": KnownSource(
        credit="Normal X-rays of the RSNA Pneumonia Detection Challenge 2018: George Shih et al.: “Augmenting the "
        "National Institutes of Health Chest Radiograph Dataset with Expert Annotations of Possible Pneumonia”, "
        "Radiology: Artificial Intelligence 1(1), 2019, doi:10.1148/ryai.2019180041; images provided by the NIH "
        "Clinical Center (Wang et al., CVPR 2017, https://nihcc.app.box.com/v/ChestXray-NIHCC). Changed: converted to "
        "grayscale and downscaled.",
        limit="The X-rays of the RSNA challenge that were used are all normal, so a model can learn their source "
        "instead of the finding. They have no reports.",
    ),
    "hannover": _HANNOVER,
    "covid-19-image-repository (Hannover)": _HANNOVER,
    "covid-chestxray-dataset": KnownSource(
        credit="Joseph Paul Cohen et al.: “COVID-19 Image Data Collection: Prospective Predictions Are the Future”, "
        "2020, arXiv:2006.11988 (https://github.com/ieee8023/covid-chestxray-dataset). Each image has its own license: "
        "those used here are CC BY 3.0 or free for everyone. Changed: converted to grayscale and downscaled.",
        limit="The X-rays of the COVID-19 Image Data Collection come from publications, and most show COVID-19. "
        "Their texts, if any, are case notes and not reports.",
    ),
}


def credits_of(sources: Iterable[str]) -> list[str]:
    """A line for each source; an unknown source gets a pointer to its own license."""
    known = {name: source.credit for name, source in KNOWN_SOURCES.items()}
    return [known.get(name, f"{name or 'a source without a name'}: see its own license.") for name in sources]


def limits_of(sources: Iterable[str]) -> list[str]:
    """What a model trained on these sources cannot know, the most important first. Unknown sources are skipped."""
    sources = list(sources)
    limits = [KNOWN_SOURCES[name].limit for name in sources if name in KNOWN_SOURCES]
    if sources and len(limits) == len(sources):
        limits.insert(0, "It was not trained on adult images with real reports, so its reports on adults are untested.")
    return limits
