"""``neurig install`` and ``neurig package``: real Pd and SuperCollider find what a new user has installed."""

import hashlib
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import neurig
import numpy as np
import pytest
import sc.render
from neurig.files import share
from pd.render import complaints
from python.helpers import Command
from sc.sclang import new_user, run_sclang


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home folder of a new user, in whose place everything in the test runs."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return folder


def open_in_pd(patch: Path, *options: str) -> list[str]:
    """What Pd says while it opens a patch, with no search path but its own."""
    done = subprocess.run(
        ["pd", "-nogui", "-noprefs", "-noaudio", "-nomidi", "-stderr", "-batch", *options, "-open", str(patch),
         "-send", "; pd dsp 1", "-send", "; pd quit"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def patch(path: Path, *boxes: str) -> Path:
    """A patch of these boxes; the first is asked for its information, and what its second outlet tells is printed."""
    lines = [f"#X obj 10 {30 * number + 10} {box};" for number, box in enumerate((*boxes, "loadbang", "print told"))]
    begin, told = len(boxes), len(boxes) + 1
    ends = [f"#X connect {begin} 0 0 0;", f"#X connect 0 1 {told} 0;"]
    declare = [f"#X declare {box.removeprefix('declare ')};" for box in boxes if box.startswith("declare")]
    path.write_text("\n".join(["#N canvas 0 0 450 300 12;", *declare, *lines, *ends, ""]))
    return path


def everything_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- Pure Data ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--link"]])
def test_pd_finds_the_objects(home: Path, tmp_path: Path, command: Command, options: list[str]) -> None:
    by_folder = patch(tmp_path / "1.pd", "neurig/neuralamp~", "neurig/mdrnn", "neurig/neurig.rig")
    declared = patch(tmp_path / "2.pd", "neuralamp~", "mdrnn", "neurig.rig", "declare -path neurig")
    assert complaints(open_in_pd(by_folder)) and complaints(open_in_pd(declared)), "they are not there yet"
    said = command("install", "pd", *options).stdout
    assert f"{home}/.local/lib/pd/extra/neurig: installed\n" in said and "[declare -path neurig]" in said
    for path in (by_folder, declared):
        console = open_in_pd(path)
        assert not complaints(console) and "told: unloaded" in console, "\n".join(console)


@pytest.mark.parametrize("options", [[], ["--link"]])
def test_installed_patches_open_without_a_complaint(home: Path, command: Command, options: list[str]) -> None:
    command("install", "pd", *options)
    installed = home / ".local/lib/pd/extra/neurig"
    patches = sorted(installed.rglob("*.pd"))
    assert {"neuralamp~-help.pd", "mdrnn-help.pd"} <= {path.name for path in patches}
    assert options or {"demo.pd", "steer-rig.pd", "tutorial.pd"} <= {path.name for path in patches}
    for path in patches:
        console = open_in_pd(path)
        assert not complaints(console), "\n".join(console)


@pytest.mark.parametrize("folder", ["home", "some where"])
def test_what_deken_shows_after_installing_opens_the_examples(tmp_path: Path, command: Command, folder: str) -> None:
    command("install", "pd", "--to", tmp_path / folder)
    readme = tmp_path / folder / "neurig/README.deken.pd"
    opened = ["-send", "; tutorial-quiet bang", "-send", "; demo-play 0"]
    assert len(complaints(open_in_pd(readme, *opened))) == 2, "they are not open yet"
    clicks = ["-send", "; neurig-tutorial bang", "-send", "; neurig-demo bang"]
    console = open_in_pd(readme, *clicks, *opened)
    assert not complaints(console), "\n".join(console)


# ---- SuperCollider --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", sc.render.SERVERS)
def test_the_servers_find_the_plugins(
    home: Path, command: Command, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {key: value for key, value in new_user(home).items() if key != "JACK_DEFAULT_SERVER"}
    monkeypatch.setattr(sc.render, "environment", lambda folder: env)
    model, x = share("models", "crunch.nam"), np.random.default_rng(1).normal(0, 0.1, 4000).astype(np.float32)
    with pytest.raises(RuntimeError, match="NeuralAmp"):
        sc.render.render(model, x, 48000, server)
    command("install", "sc")
    expected = neurig.load(model).instance(48000).process(x)
    np.testing.assert_allclose(sc.render.render(model, x, 48000, server), expected, rtol=0, atol=1e-6)


def test_sclang_compiles_the_classes_and_finds_the_models(home: Path, command: Command) -> None:
    installed = home / ".local/share/SuperCollider/Extensions/neurig"
    assert f"{installed}: installed\n" in command("install", "sc").stdout
    document = home / "test.scd"
    document.write_text(
        '[NeuralAmp, MDRNN, Rig].do { |class| ("class" + class.filenameSymbol).postln };\n'
        '["crunch.nam", "wander.mdrnn"].do { |name| ("model" + NeuralAmpModel.bundled(name)).postln };\n'
        '"PATH".setenv("/nowhere"); ("command" + Rig.command).postln;\n0.exit;\n'
    )
    posted = run_sclang(document, new_user(home))
    for line in (*(f"class {installed}/Classes/{name}.sc" for name in ("NeuralAmp", "MDRNN", "Rig")),
                 *(f"model {installed}/models/{name}" for name in ("crunch.nam", "wander.mdrnn")),
                 f"command {share('LICENSE').parent / 'run'}"):
        assert f"\n{line}\n" in posted, posted
    assert "ERROR" not in posted


def test_the_folder_is_a_quark(home: Path, tmp_path: Path, command: Command) -> None:
    command("install", "sc", "--to", tmp_path)
    document, env = home / "test.scd", new_user(home)
    document.write_text(f'Quarks.install("{tmp_path / "neurig"}");\nQuarks.installed.postln;\n0.exit;\n')
    assert f"[ Quark: neurig[{neurig.__version__}] ]" in run_sclang(document, env)
    document.write_text('[NeuralAmp, Pmdrnn, Rig].postln; NeurigModel.bundled("crunch.nam").postln;\n0.exit;\n')
    posted = run_sclang(document, env)
    assert "[ class NeuralAmp, class Pmdrnn, class Rig ]" in posted
    assert f"{tmp_path}/neurig/models/crunch.nam" in posted, posted


def test_the_folder_for_extensions_is_that_of_the_environment(
    home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    command("install", "sc")
    assert (home / "data/SuperCollider/Extensions/neurig/Classes/NeuralAmp.sc").is_file()


# ---- What was there before ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["pd", "sc"])
def test_an_older_one_is_replaced_and_nothing_is_left_of_it(tmp_path: Path, command: Command, host: str) -> None:
    folder = tmp_path / "some where"
    command("install", host, "--to", folder)
    first = everything_in(folder)
    older = {"of-old.txt": b"old", "models/crunch.nam": b"older"}
    for name, content in older.items():
        (folder / "neurig" / name).write_bytes(content)
    listing = folder / "neurig" / ".neurig-installed"
    kept = [line for line in listing.read_text().splitlines() if not line.endswith("  models/crunch.nam")]
    listing.write_text("\n".join([*kept, *(f"{hashlib.sha256(c).hexdigest()}  {n}" for n, c in older.items())]) + "\n")
    command("install", host, "--to", folder)
    assert everything_in(folder) == first and [path.name for path in folder.iterdir()] == ["neurig"]
    for options in (["--link"], [], ["--link"]):
        command("install", host, "--to", folder, *options)
        assert (folder / "neurig").is_symlink() == bool(options)
    assert [path.name for path in folder.iterdir()] == ["neurig"]
    command("install", host, "--to", folder, "--remove")
    assert not list(folder.iterdir()) and share(host).is_dir()
    assert "nothing to remove" in command("install", host, "--to", folder, "--remove").stdout


def test_the_list_of_what_was_installed_is_right(tmp_path: Path, command: Command) -> None:
    command("install", "pd", "--to", tmp_path)
    check = ["sha256sum", "--check", "--strict", "--quiet", ".neurig-installed"]
    subprocess.run(check, cwd=tmp_path / "neurig", check=True)


@pytest.mark.parametrize("options", [[], ["--link"], ["--remove"]])
def test_what_is_not_ours_stays(tmp_path: Path, command: Command, options: list[str]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.pd").write_text("mine")

    def refused(folder: Path, reason: str) -> None:
        before = everything_in(tmp_path)
        assert reason in command("install", "pd", "--to", folder, *options, code=1).stderr
        assert everything_in(tmp_path) == before

    (tmp_path / "folder" / "neurig").mkdir(parents=True)
    (tmp_path / "folder" / "neurig" / "mine.pd").write_text("mine")
    refused(tmp_path / "folder", "not installed by neurig")
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "neurig").write_text("mine")
    refused(tmp_path / "file", "not installed by neurig")
    for name, leads in (("link", elsewhere), ("nowhere", tmp_path / "missing")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "neurig").symlink_to(leads)
        refused(tmp_path / name, "this link leads to something")
        assert (tmp_path / name / "neurig").is_symlink()

    command("install", "pd", "--to", tmp_path / "changed")
    installed = tmp_path / "changed" / "neurig"
    (installed / "models" / "my amp.nam").write_text("mine")
    refused(tmp_path / "changed", ": models/my amp.nam. Move")
    (installed / "neurig.rig.pd").write_text("changed")
    (installed / "my models").symlink_to(elsewhere)
    refused(tmp_path / "changed", ": models/my amp.nam, my models, neurig.rig.pd. Move")
    assert (elsewhere / "mine.pd").read_text() == "mine"


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path, command: Command) -> None:
    (tmp_path / "file").write_text("")
    command("install", "pd", "--to", tmp_path / "file" / "below", code=1)
    assert "Usage:" in command("install", "pd", "--link", "--remove", code=2).stderr
    assert "Usage:" in command("install", "max", code=2).stderr


# ---- deken ----------------------------------------------------------------------------------------------------------


def test_package(home: Path, tmp_path: Path, command: Command) -> None:
    """Unpacked as Pd does it, it plays; its name, checksum and list of objects are as deken has them."""
    folder = tmp_path / "packages"
    folder.mkdir()
    archive, checksum, objects = (Path(line) for line in command("package", "--to", folder).stdout.splitlines())
    assert re.fullmatch(rf"neurig\[v{re.escape(neurig.__version__)}\]\(Linux-(\w+)-32\)\(Linux-\1-64\)\.dek", archive.name)
    assert (checksum.name, objects.name) == (f"{archive.name}.sha256", f"{archive.name}.txt")
    assert checksum.read_text() == hashlib.sha256(archive.read_bytes()).hexdigest()
    listed = dict(line.split("\t") for line in objects.read_text().splitlines())
    assert {"mdrnn", "neuralamp~", "neurig.amp", "neurig.rig"} <= set(listed) and all(map(str.strip, listed.values()))

    extra = home / ".local/lib/pd/extra"
    extra.mkdir(parents=True)
    with zipfile.ZipFile(archive) as packed:
        assert {name.split("/")[0] for name in packed.namelist()} == {"neurig"}
        endings = {name.partition(".")[2] for name in packed.namelist() if name.startswith("neurig/neuralamp~.")}
        assert len(endings) == 2 and "pd_linux" in endings, "single and double precision"
        packed.extractall(extra)
    boxes = ("neuralamp~ models/crunch", "mdrnn models/wander", "neurig.rig", "declare -path neurig")
    console = open_in_pd(patch(tmp_path / "test.pd", *boxes))
    assert f"told: loaded {extra}/neurig/models/crunch.nam" in console and not complaints(console)

    before = archive.read_bytes()
    command("package", "--to", folder)
    assert archive.read_bytes() == before
    command("install", "pd")  # knows it, and takes its place
    command("install", "pd", "--remove")
    assert not list(extra.iterdir())


def test_package_of_sources(tmp_path: Path, command: Command) -> None:
    """What is in it is what git keeps, and enough to build from."""
    written = [Path(line) for line in command("package", "--sources").stdout.splitlines()]
    archive = tmp_path / f"neurig[v{neurig.__version__}](Sources).dek"
    assert len(written) == 6 and (tmp_path / written[3]) == archive
    assert Path(f"{archive}.sha256").read_text() == hashlib.sha256(archive.read_bytes()).hexdigest()
    root = share("LICENSE").parent
    with zipfile.ZipFile(archive) as packed:
        names = {name.removeprefix("neurig/") for name in packed.namelist()}
        assert {"LICENSE", "externals/build.py", "externals/core/neurig.h", "pd/neurig.rig.pd", "setup.py"} <= names
        assert not any(name.endswith((".so", ".pd_linux", ".pyc")) for name in names)
        assert packed.read("neurig/externals/build.py") == (root / "externals" / "build.py").read_bytes()
        assert packed.getinfo("neurig/run").external_attr >> 16 & 0o111
