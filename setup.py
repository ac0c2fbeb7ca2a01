"""What pyproject.toml cannot say: top-level folders that a wheel carries inside the package."""

from setuptools import find_packages, setup

SHIPPED = {f"adept_llm.shipped.{folder}": folder for folder in ("ds_configs", "recipes", "slurm")}

setup(
    packages=[*find_packages(include=["adept_llm*"]), *SHIPPED],
    package_dir=SHIPPED,
)
