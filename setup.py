"""What pyproject.toml cannot say: top-level folders that a wheel carries inside the package."""

from setuptools import find_packages, setup

FOLDERS = ("docs", "ds_configs", "recipes", "slurm")
SHIPPED = {f"adept_llm.shipped.{folder}": folder for folder in FOLDERS}

setup(
    packages=[*find_packages(include=["adept_llm*"]), *SHIPPED],
    package_dir=SHIPPED,
)
