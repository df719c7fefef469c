"""The config file of ``neurig run``: IMPSY's as they are, and what is said of wrong ones."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from neurig.interaction.config import ConfigError, Settings, read

from interaction.instrument import Instrument

Start = Callable[..., Instrument]


@pytest.fixture
def config(tmp_path: Path, predictor_file: Callable[..., Path]) -> Callable[..., Settings]:
    """Reads a config beside which small.mdrnn lies, of dimension 4."""
    (tmp_path / "small.mdrnn").write_bytes(predictor_file("four.mdrnn", dimension=4).read_bytes())

    def read_text(text: str, **overrides: Any) -> Settings:
        (tmp_path / "config.toml").write_text(text, encoding="utf-8")
        return read(tmp_path / "config.toml", overrides)

    return read_text


IMPSY = ["AiC-alec-u2midipro", "AiC-charles-u6midipro", "andromeda-ableton", "arturia-minilab3-analogV", "default",
         "microfreak", "op1-volca-fm", "pd-workshop-example", "roland-p-6", "roland-s-1", "roland-s-1-quneo",
         "roland-s-1-xtouch", "serial-example", "user-only-example", "xtouch-to-volca-fm", "xtouch-to-volca-keys"]


@pytest.mark.parametrize("name", IMPSY)
def test_configs_of_impsy_start_unchanged(data: Path, tmp_path: Path, free_port: Callable[[], int], name: str) -> None:
    """Only the numbers of network ports are others, so that tests can run beside each other."""
    text = (data / "impsy/configs" / f"{name}.toml").read_text()
    text = text.replace("6000", "PORT").replace("6001", "EAR").replace("5001", str(free_port()))
    if "[webui]" not in text:
        text += "\n[webui]\nmonitor_port = 4001\ncommand_port = 4002\n"
    text = text.replace("4001", "MONITOR").replace("4002", "COMMANDS")
    player = Instrument(tmp_path, text, "--logdir", tmp_path / "logs", "--quiet", free_port=free_port,
                        cwd=data / "impsy")
    try:
        dimension = int(re.search(r"dimension = (\d+)", text)[1])
        if "[osc]" in text and "docker" not in text:
            player.play(*[0.5] * (dimension - 1))
            if dimension < 17:  # with a model
                assert len(player.ear.hear()) == dimension
    finally:
        said = player.stop()
    assert player.process.returncode == 0 and "Traceback" not in said and "should not happen" not in said, said
    assert f"{dimension - 1} values" in said


def test_all_that_impsy_says(config: Callable[..., Settings]) -> None:
    settings = config("""
title = "A"
owner = "B"
description = "C"
log_input = false
log_predictions = true
verbose = true
[interaction]
mode = "polyphony"
threshold = 2
input_thru = true
[model]
dimension = 4
file = "small.mdrnn"
size = "xs"
sigmatemp = 0
pitemp = 2
timescale = 0.5
[osc]
server_ip = "0.0.0.0"
server_port = 6100
client_ip = "0.0.0.0"
client_port = 6101
[webui]
monitor_port = 4101
command_port = 4102
""")
    predictor, = settings.predictors
    assert not settings.warnings
    assert (settings.verbose, settings.monitor_port, settings.command_port) == (True, 4101, 4102)
    assert (predictor.log_input, predictor.log_predictions, predictor.input_thru) == (False, True, True)
    assert {key: predictor.values[key] for key in ("mode", "threshold", "sigmatemp", "pitemp", "timescale")} == {
        "mode": "polyphony", "threshold": 2, "sigmatemp": 0, "pitemp": 2, "timescale": 0.5}
    osc = predictor.ports["osc"]
    assert (osc.server_ip, osc.server_port, osc.client_ip, osc.client_port) == ("0.0.0.0", 6100, "127.0.0.1", 6101)


def test_the_older_form_of_midi(config: Callable[..., Settings]) -> None:
    mapping = '[["note_on", 1], ["control_change", 1, 42], ["control_change", 1, 43]]'
    old = config(f'[model]\nfile = "small.mdrnn"\n[midi]\nin_device = "X"\nout_device = "Y"\n'
                 f"input = {mapping}\noutput = {mapping}\n[websocket]\nserver_port = 5101")
    new = config(f'[model]\nfile = "small.mdrnn"\n[midi]\nin_device = ["X"]\nout_device = ["Y"]\n'
                 f'input."X" = {mapping}\noutput."Y" = {mapping}\n'
                 f"[websocket]\nserver_port = 5101\ninput = {mapping}\noutput = {mapping}")
    assert old.predictors[0].ports == new.predictors[0].ports


def test_options_go_before_the_file(config: Callable[..., Settings]) -> None:
    settings = config('verbose = true\n[interaction]\nmode = "battle"\n' + MODEL + "pitemp = 2\n[osc]",
                      mode="useronly", pitemp=3.0, verbose=False, log_predictions=True, threshold=None)
    predictor, = settings.predictors
    assert (predictor.values["mode"], predictor.values["pitemp"], settings.verbose, predictor.log_predictions) == (
        "useronly", 3, False, True)


def test_several_predictors(config: Callable[..., Settings]) -> None:
    settings = config("""
log_predictions = true
[[predictor]]
name = "hand"
model = "small.mdrnn"
mode = "battle"
seed = 4
feeds = ["voice"]
  [predictor.osc]
  server_port = 6100
  [[predictor.map]]
  index = 3
  address = "/rig/amp/gain"
  low = 12
  high = -12
[[predictor]]
name = "voice"
dimension = 4
log_predictions = false
""")
    hand, voice = settings.predictors
    assert (hand.name, hand.dimension, hand.feeds, hand.log_predictions, hand.values["seed"]) == (
        "hand", 4, ("voice",), True, 4)
    map_, = hand.maps
    assert (map_.index, map_.address, map_.low, map_.high, map_.host, map_.port) == (
        3, "/rig/amp/gain", 12, -12, "127.0.0.1", 9001)
    assert (voice.predictor, voice.ports, voice.log_predictions) == (None, {}, False)


def test_a_model_that_is_missing_is_said(config: Callable[..., Settings]) -> None:
    settings = config('[model]\ndimension = 4\n\nfile = "models/none.keras"\n[osc]')
    assert settings.predictors[0].predictor is None
    warning, = settings.warnings
    assert re.search(r"config.toml:4: there is no model models/none.keras \(looked for in ", warning)


def test_a_model_in_another_format_is_taken_instead(config: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "small.tflite").write_bytes(b"this is no model")
    settings = config('[model]\nfile = "small.tflite"\n[osc]')
    assert settings.predictors[0].predictor.model.path == tmp_path / "small.mdrnn"
    warning, = settings.warnings
    assert warning.startswith(f"{tmp_path}/config.toml:2: {tmp_path}/small.tflite: ")
    assert warning.endswith(f"{tmp_path}/small.mdrnn is played instead")


MODEL = '[model]\nfile = "small.mdrnn"\n'
PREDICTOR = '[[predictor]]\nname = "a"\nmodel = "small.mdrnn"\n'
WRONG = [
    ('[interaction]\nmode = "dance"', r':2: mode is "dance" \(text\), but has to be one of callresponse, polyphony, '),
    ("[interaction]\nmode = 3", r":2: mode is 3, but has to be one of "),
    ('[interaction]\n\nthreshold = "0.1"', r':3: threshold is "0.1" \(text\), but has to be a number from 0'),
    ("[interaction]\nthreshold = -1", r":2: threshold is -1, but has to be a number from 0 \(seconds\)"),
    ("[interaction]\ninput_thru = 1", r":2: input_thru is 1, but has to be true or false"),
    (MODEL + "pitemp = 0", r":3: pitemp is 0, but has to be a number above 0"),
    (MODEL + "sigmatemp = nan", r":3: sigmatemp is nan, but has to be a number from 0"),
    (MODEL + "timescale = true", r":3: timescale is true, but has to be a number from 0"),
    (MODEL + 'size = "xxl"', r':3: size is "xxl" \(text\), but has to be one of xxs, xs, s, m, l, xl'),
    (MODEL + "dimension = 1", r":3: dimension is 1, but has to be a whole number from 2 to 64"),
    (MODEL + "dimension = 9", r":3: dimension is 9, but small.mdrnn has dimension 4: write dimension = 4"),
    ("[model]\nfile = 3", r':2: file is 3, but has to be text in quotes'),
    ("[model]\n", r":1: neither a model nor a dimension is given"),
    ('[model]\nfile = "broken.mdrnn"', r":2: .*broken.mdrnn: "),
    ('[model]\nfile = "."', r":2: .*empty name"),
    ('[model]\nfile = "~nobody-at-all/a.mdrnn"', r":2: ~nobody-at-all/a.mdrnn: "),
    (f'[model]\nfile = "{"long" * 100}"', r":2: .*too long"),
    ("model = 3", r":1: model is 3, but has to be a table: write \[model\]"),
    ("verbose = 0", r":1: verbose is 0, but has to be true or false"),
    (MODEL + "[osc]\nserver_port = 70000", r":4: \[osc\] server_port: is 70000, but has to be a whole number from 1 "),
    (MODEL + "[osc]\nclient_ip = 127", r":4: \[osc\] client_ip: is 127, but has to be an address in quotes"),
    (MODEL + '[midi]\nin_device = ["X"]\ninput."X" = [["note_onn", 1]]', r":5: \[midi\] input.*did you mean"),
    (MODEL + "[webui]\ncommand_port = 0", r":4: command_port is 0, but has to be a whole number from 1 to 65535"),
    (PREDICTOR + MODEL, r":4: \[model\] and \[\[predictor\]\] do not go together"),
    (PREDICTOR + "[osc]\n", r":4: \[osc\] belongs into a \[\[predictor\]\]: write \[predictor.osc\]"),
    ("[predictor]\n", r":1: predictor is a list of tables: write \[\[predictor\]\]"),
    (PREDICTOR + PREDICTOR, r":5: two predictors are named a"),
    (PREDICTOR + 'feeds = ["b"]', r":4: feeds has 'b', but has to name other predictors; there are none"),
    (PREDICTOR + 'feeds = "b"', r':4: feeds is "b" \(text\), but has to be a list of names'),
    (PREDICTOR + '[[predictor.map]]\nindex = 4\naddress = "/a"', r":5: index is 4, but has to be a whole number "),
    (PREDICTOR + '[[predictor.map]]\nindex = 1', r":4: address is '', but has to be an OSC address"),
    (PREDICTOR.replace('"a"', '"a b"'), r":2: name is 'a b', but has to be a word of letters"),
    (PREDICTOR + "[predictor.osc]\n" + PREDICTOR.replace('"a"', '"b"') + "[predictor.osc]\n",
     r":8: UDP port 6000 belongs to a's \[osc\] already"),
    ('title = "A\nb"', r":1: this is not TOML: "),
    ("mode = callresponse", r":1: this is not TOML: .*Text stands in quotes"),
    ("a = 1\n[model\n", r":2: this is not TOML: "),
]


@pytest.mark.parametrize(("text", "reason"), WRONG, ids=[reason[:40] for _, reason in WRONG])
def test_what_is_wrong_is_said_with_its_line(config: Callable[..., Settings], tmp_path: Path, text: str,
                                             reason: str) -> None:
    (tmp_path / "broken.mdrnn").write_text("{")
    with pytest.raises(ConfigError) as caught:
        config(text)
    assert re.search(rf"^{re.escape(str(tmp_path))}/config.toml{reason}", str(caught.value), re.MULTILINE), caught.value


def test_all_that_is_wrong_is_said_at_once(config: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigError) as caught:
        config('verbose = 0\n[interaction]\nmode = "x"\n' + MODEL + "pitemp = 0\n[osc]\nserver_port = 0")
    assert sorted(map(int, re.findall(r"config.toml:(\d+): ", str(caught.value)))) == [1, 3, 6, 8]


@pytest.mark.parametrize(("text", "oddity"), [
    ("titel = 'x'\n" + MODEL, r":1: there is no setting titel \(did you mean title\?\): it is passed over"),
    (MODEL + "pi_temp = 1", r":3: there is no setting pi_temp \(did you mean pitemp\?\)"),
    (MODEL + "[osc]\nport = 6000", r":4: \[osc\] port: there is no such setting.*: it is passed over"),
    ("[interactions]\nmode = 'x'\n" + MODEL, r":1: there is no setting interactions \(did you mean interaction\?\)"),
    (MODEL, r": nothing leads in or out: add \[osc\]"),
    (MODEL + '[midi]\nin_device = [""]', r":3: \[midi\] names no device"),
])
def test_oddities_are_said_and_passed_over(config: Callable[..., Settings], text: str, oddity: str) -> None:
    warnings = config(text).warnings
    assert any(re.search(oddity, warning) for warning in warnings), warnings


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"title = \xff")
    with pytest.raises(ConfigError, match="byte 8 is not UTF-8"):
        read(tmp_path / "config.toml")


def test_without_a_file(predictor_file: Callable[..., Path]) -> None:
    settings = read(None, {"model": predictor_file("four.mdrnn", dimension=4)})
    predictor, = settings.predictors
    assert predictor.dimension == 4
    osc = predictor.ports["osc"]
    assert (osc.server_ip, osc.server_port, osc.client_ip, osc.client_port) == ("127.0.0.1", 6000, "127.0.0.1", 6001)
