"""Measuring denoisers: by the paper's protocol and by a clean one."""
