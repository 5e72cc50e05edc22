# Runs under TensorFlow, in a Python of its own.
collect_ignore = ["write_ede2018_checkpoint.py"]
