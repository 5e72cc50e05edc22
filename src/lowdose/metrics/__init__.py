"""Numbers that say how close an estimate is to a reference: pure numpy, no files, no torch."""

from lowdose.metrics.fourier import (
    RingCorrelation,
    frc,
    frc_resolution,
    radial_amplitude,
    radial_profile,
)
from lowdose.metrics.pixelwise import mse, psnr
from lowdose.metrics.position import PositionErrors, position_errors
from lowdose.metrics.protocol import (
    CleanScores,
    PaperScores,
    clean_protocol,
    paper_capped,
    paper_images,
    paper_protocol,
)
from lowdose.metrics.residual import ResidualStatistics, residual_statistics
from lowdose.metrics.structure import ssim

__all__ = [
    "CleanScores",
    "PaperScores",
    "PositionErrors",
    "ResidualStatistics",
    "RingCorrelation",
    "clean_protocol",
    "frc",
    "frc_resolution",
    "mse",
    "paper_capped",
    "paper_images",
    "paper_protocol",
    "position_errors",
    "psnr",
    "radial_amplitude",
    "radial_profile",
    "residual_statistics",
    "ssim",
]
