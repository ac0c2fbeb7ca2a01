"""What a stranger installs: a wheel with all that the README names, and one version."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

import adept_llm
from adept_llm.cli.main import main

ROOT = Path(__file__).parents[1]
FOLDERS = {"docs": "*.md", "ds_configs": "*", "recipes": "*", "slurm": "*"}


def committed(folder):
    return sorted(p for p in (ROOT / folder).glob(FOLDERS[folder]) if p.name != "__pycache__")


def python(*argv, **options):
    return subprocess.run(
        [sys.executable, *map(str, argv)], capture_output=True, text=True, check=True, **options
    ).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that a wheel of this checkout was installed to."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    # setuptools writes beside what it builds
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("adept_llm", *FOLDERS):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = ["-m", "pip", "--disable-pip-version-check"]
    python(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", source, source)
    (wheel,) = source.glob("*.whl")
    python(*pip, "install", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def run_installed(installed, cwd, *argv):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return python("-m", "adept_llm.cli.main", *argv, cwd=cwd, env=environment)


def test_a_wheel_carries_every_recipe_configuration_script_and_page(installed, tmp_path):
    listed = [Path(line) for line in run_installed(installed, tmp_path, "files").splitlines()]
    expected = [path for folder in FOLDERS for path in committed(folder)]
    shipped = installed / "adept_llm" / "shipped"
    assert listed == [shipped / path.relative_to(ROOT) for path in expected]
    assert [p.read_bytes() for p in listed] == [p.read_bytes() for p in expected]
    assert not [*shipped.rglob("*.png"), *shipped.rglob("*.svg")]  # pages' pictures are large
    assert all(yaml.safe_load(p.read_text()) for p in listed if p.suffix in (".yaml", ".json"))


def test_a_wheel_carries_every_module_the_demo_model_and_the_mark_of_types(installed):
    package = ROOT / "adept_llm"
    expected = {
        path.relative_to(package)
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {Path("py.typed"), Path("demo/model/model.safetensors")} <= expected
    missing = [path for path in expected if not (installed / "adept_llm" / path).is_file()]
    assert missing == []


def test_a_source_distribution_holds_what_is_committed(tmp_path):
    """Its README links to the pages, they to benchmarks and tests, which import each other."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = [one for one in listed.stdout.splitlines() if one[0] != "." and (ROOT / one).is_file()]
    if not names:
        pytest.skip("no git, or no checkout")
    for name in names:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "source" / name)
    code = "from setuptools.build_meta import build_sdist as b; import sys; b(sys.argv[1])"
    python("-c", code, tmp_path, cwd=tmp_path / "source")
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    assert sorted(set(names) - held) == []


def test_a_wheel_and_the_command_line_know_the_same_version(installed, tmp_path, capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"adept_llm {adept_llm.__version__}\n"
    assert (installed / f"adept_llm-{adept_llm.__version__}.dist-info").is_dir()
    assert f"\n## [{adept_llm.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_files_are_found_by_name_in_a_checkout(capsys):
    assert main(["files", "zero3.json", "slurm/README.md", "recipes/"]) == 0
    expected = [ROOT / "ds_configs/zero3.json", ROOT / "slurm/README.md", ROOT / "recipes"]
    assert capsys.readouterr().out.splitlines() == list(map(str, expected))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["files", "zero4.json"], ["zero4.json", "`adept-llm files`"]),
        (["files", "README.md"], ["ds_configs/README.md or slurm/README.md"]),
        (["train", "recipes/none.yaml"], ["recipes/none.yaml", "`adept-llm files`"]),
    ],
)
def test_a_file_that_is_not_there_gives_one_line_that_says_how_to_list_them(capsys, argv, words):
    assert main(argv) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
    assert all(word in line for word in words)


def test_importing_the_package_is_quick_and_shows_its_names():
    """Under a second and without torch, or every command and completion would wait for it."""
    code = (
        "import sys, time; start = time.perf_counter(); import adept_llm;"
        "seconds = time.perf_counter() - start; assert seconds < 1, seconds;"
        "assert not {'torch', 'transformers'} & set(sys.modules);"
        "assert set(adept_llm.__all__) <= set(dir(adept_llm));"
        "assert 'torch' not in sys.modules; from adept_llm import *; assert inject_adapter"
    )
    python("-c", code, cwd=ROOT)


def test_listing_files_does_not_wait_for_torch():
    code = (
        "import sys; from adept_llm.cli.main import main; main(['files']); main(['--version']);"
        "assert 'torch' not in sys.modules"
    )
    python("-c", code, cwd=ROOT)
