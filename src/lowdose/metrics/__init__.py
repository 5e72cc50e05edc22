"""Numbers that say how close an estimate is to a reference: pure numpy, no files, no torch."""

from lowdose.metrics.fourier import RingCorrelation, frc, frc_resolution
from lowdose.metrics.pixelwise import mse, psnr
from lowdose.metrics.protocol import (
    CleanScores,
    PaperScores,
    clean_protocol,
    paper_mean,
    paper_protocol,
)
from lowdose.metrics.residual import ResidualStatistics, residual_statistics
from lowdose.metrics.structure import ssim

__all__ = [
    "CleanScores",
    "PaperScores",
    "ResidualStatistics",
    "RingCorrelation",
    "clean_protocol",
    "frc",
    "frc_resolution",
    "mse",
    "paper_mean",
    "paper_protocol",
    "psnr",
    "residual_statistics",
    "ssim",
]
