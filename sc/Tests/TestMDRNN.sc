TestMDRNN : UnitTest {
	unit { |function|
		var units = SynthDef(\test, { Out.kr(0, function.value) }).children.select(_.isKindOf(MDRNN));
		this.assertEquals(units.size, 1, "one unit");
		^units[0]
	}

	test_inputs_and_outputs {
		var unit = this.unit({ MDRNN.kr(3, [0.1, 0.2, 0.3], 0, \battle, seed: 7) });
		this.assertEquals(unit.inputs, [3, 2, 0.1, 1, 1, 0.01, 1, 1, 7, 0, 0, 0.1, 0.2, 0.3], "its inputs");
		this.assertEquals(unit.numOutputs, 5, "a trigger, dt, and a value for each of the player's");
		unit = this.unit({ MDRNN.kr(3, 8, mode: \filter) });
		this.assertEquals([unit.inputs.size, unit.numOutputs, unit.inputs[1]], [19, 10, 4], "a number of values, no player");
	}

	test_a_change_is_a_gesture {
		var unit = this.unit({ MDRNN.kr(0, [MouseX.kr, MouseY.kr, 0.5]) });
		this.assert(unit.inputs[10].isKindOf(BinaryOpUGen), "without a trigger any change counts");
	}

	test_modes {
		MDRNN.modes.do { |mode, i| this.assertEquals(MDRNN.modeNumber(mode), i, "mode %".format(mode)) };
		this.assertEquals(MDRNN.modeNumber("filter"), 4, "a string");
		this.assertEquals(MDRNN.modeNumber(2), 2, "a number");
		this.assertException({ MDRNN.modeNumber(\solo) }, Error, "there is no such mode");
	}

	test_wrong_arguments {
		this.assertException({ this.unit({ MDRNN.kr("wander.mdrnn", 3) }) }, Error, "a path is refused");
		this.assertException({ this.unit({ MDRNN.kr(nil, 3) }) }, Error, "no model at all is refused");
		this.assertException({ this.unit({ MDRNN.kr(0) }) }, Error, "how many values?");
		this.assertException({ this.unit({ MDRNN.kr(0, [SinOsc.ar, 0]) }) }, Error, "audio rate is refused");
		(
			in: { MDRNN.kr(0, [0, "x"], 0) },
			threshold: { MDRNN.kr(0, 3, threshold: \soon) },
			seed: { MDRNN.kr(0, 3, seed: SinOsc.ar) }
		).keysValuesDo { |name, function|
			var complaint = try { this.unit(function); "" } { |error| error.errorString };
			this.assert(complaint.contains("'%'".format(name)), complaint)
		}
	}
}
