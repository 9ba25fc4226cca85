"""Audits: what a training recipe, or one model that somebody else trained, gives away."""

from benchsuite.auditing.auditor import audit
from benchsuite.auditing.matrix import Matrix, read_matrix
from benchsuite.auditing.result import Audit
from benchsuite.auditing.shadows import observe_shadows

__all__ = ["Audit", "Matrix", "audit", "observe_shadows", "read_matrix"]
