"""Fixtures shared by the tests of reports."""
from report_kit import cdnow_lab, lab, reports_folder  # noqa: F401
