"""The settings of the study tab: how a report is chosen, and from which probability on a finding is positive."""

from dataclasses import replace

import gradio as gr

from page.cards import layout
from page.study.read import MAX_CANDIDATES, check_num_candidates
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.operating_point import BEST_F1, OperatingPoint

CHOICES = (("best F1", "f1"), ("sensitivity", "sensitivity"), ("specificity", "specificity"))
POINT_NOTE = (
    "Sensitivity: share of the cases that are found. Specificity: share of the studies without the finding that are "
    "negative. A higher sensitivity finds more cases and gives more false alarms."
)
NO_CURVES = (
    "The thresholds cannot be moved, because this checkpoint has no ROC curves; python -m train.fit_roc adds them."
)
NO_PRIORS = (
    "There is no place for a prior study, because this checkpoint was trained without prior studies and cannot compare."
)
LOWEST, DEFAULT_PERCENT, HIGHEST = 50, 90, 99


class SettingsPanel:
    """Created inside a gr.Blocks; starts with these options and this operating point."""

    def __init__(self, generator: ReportGenerator, options: GenerationOptions, point: OperatingPoint = BEST_F1):
        self.generator, self.generation = generator, options
        can_move = bool(generator.calibration.curves)
        with gr.Accordion("Settings", open=False):
            self.rate = gr.Radio(list(CHOICES), value=point.rate, label="Thresholds for", visible=can_move)
            percent = DEFAULT_PERCENT if point == BEST_F1 else 100 * point.target
            self.percent = gr.Slider(
                min(LOWEST, percent),
                max(HIGHEST, percent),
                value=percent,
                step=1,
                label="at least (%)",
                visible=can_move and point != BEST_F1,
                buttons=[],
            )
            gr.HTML(layout.render("note", text=POINT_NOTE if can_move else NO_CURVES), apply_default_css=False)
            self.num_candidates = gr.Slider(
                1,
                MAX_CANDIDATES,
                value=options.num_candidates,
                step=1,
                label="Reports to write at most",
                info="If the first report has an error, this many are written, and the one with the fewest is kept.",
                visible=generator.writes_reports,
                buttons=[],
            )
            if not generator.reads_priors:
                gr.HTML(layout.render("note", text=NO_PRIORS), apply_default_css=False)
            self.moved = gr.HTML(apply_default_css=False, elem_id="moved")
        self.values = [self.num_candidates, self.rate, self.percent]
        """The inputs of an event, in the order of the arguments of `chosen`."""

    def chosen(self, num_candidates: int, rate: str, percent: float) -> tuple[ReportGenerator, GenerationOptions]:
        """The generator and the options for these settings.

        Raises:
            ValueError: a value is out of range, or the checkpoint has no ROC curves.
        """
        check_num_candidates(num_candidates, "the number of reports to write")
        point = BEST_F1 if rate == BEST_F1.rate else OperatingPoint(rate=rate, target=percent / 100)
        return self.generator.at(point), replace(self.generation, num_candidates=int(num_candidates))
