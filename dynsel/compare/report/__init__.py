"""The report of a comparison: pictures, the numbers behind them as CSV, and all of it on one page."""

from dynsel._lib.sheets import image_sheet
from dynsel.compare.report.bars import overlap_figure, ranking_figure, time_figure, usage_figure, wrong_labels_figure
from dynsel.compare.report.curves import accuracy_figure, class_balance_figure
from dynsel.compare.report.page import page_html
from dynsel.compare.report.picture import Picture
from dynsel.compare.report.pictures import pictures
from dynsel.compare.report.style import selector_style
from dynsel.compare.report.writing import write_report

__all__ = [
    "Picture",
    "accuracy_figure",
    "class_balance_figure",
    "image_sheet",
    "overlap_figure",
    "page_html",
    "pictures",
    "ranking_figure",
    "selector_style",
    "time_figure",
    "usage_figure",
    "write_report",
    "wrong_labels_figure",
]
