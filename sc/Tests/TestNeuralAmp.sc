TestNeuralAmp : UnitTest {
	units { |function| ^SynthDef(\test, { Out.ar(0, function.value) }).children.select(_.isKindOf(NeuralAmp)) }

	test_expansion {
		var units;
		this.assertEquals(this.units({ NeuralAmp.ar(WhiteNoise.ar ! 2, 0) }).size, 2, "two inputs give two units");
		this.assertEquals(this.units({ NeuralAmp.ar(WhiteNoise.ar, [0, 1, 2]) }).size, 3, "three models give three");
		units = this.units({ NeuralAmp.ar(WhiteNoise.ar, 3, 6, params: [0.25, [0.5, 0.75]]) });
		this.assertEquals(units.collect { |unit| unit.inputs.drop(1) },
			[[3, 6, 0, 0, 0, 12, 1, 0.25, 0.5], [3, 6, 0, 0, 0, 12, 1, 0.25, 0.75]],
			"params are inputs, and expand where they are arrays");
	}

	test_knobs_at_any_rate {
		var units = this.units({ NeuralAmp.ar(WhiteNoise.ar, 0, SinOsc.ar(3), LFNoise1.kr, params: [LFSaw.ar(1), 0.5]) });
		this.assertEquals(units[0].inputs.at([2, 3, 8, 9]).collect(_.rate), ['audio', 'control', 'audio', 'scalar'],
			"they come as they are")
	}

	test_level {
		var level = { |level| this.units({ NeuralAmp.ar(WhiteNoise.ar, 3, level: level) })[0].inputs[5] };
		this.assertEquals([\raw, \normalised, \calibrated, 2].collect(level), [0, 1, 2, 2], "a level is a name or its number");
		this.assertException({ level.(\loud) }, Error, "another name is refused");
	}

	test_input_has_to_be_at_audio_rate {
		[1, LFNoise0, DC].do { |source|
			var signal = { if(source.isNumber) { source } { source.kr } };
			this.assertException({ this.units({ NeuralAmp.ar(signal.value, 0) }) }, Error, "% is refused".format(source))
		}
	}

	test_model_has_to_be_read_first {
		this.assertException({ this.units({ NeuralAmp.ar(WhiteNoise.ar, "crunch.nam") }) }, Error, "a path is refused");
		this.assertException({ this.units({ NeuralAmp.ar(WhiteNoise.ar) }) }, Error, "no model at all is refused");
		this.assertException({ this.units({ NeuralAmp.ar(WhiteNoise.ar, [0, "crunch.nam"]) }) }, Error, "nor one of several");
	}

	test_complaints_name_the_argument {
		var complaint = { |function| try { this.units(function); "" } { |error| error.errorString } };
		(
			params: { NeuralAmp.ar(WhiteNoise.ar, 0, params: [0.5, \gain]) },
			slim: { NeuralAmp.ar(WhiteNoise.ar, 0, slim: "all") },
			level: { NeuralAmp.ar(WhiteNoise.ar, 0, level: nil) }
		).keysValuesDo { |name, function|
			this.assert(complaint.(function).contains("'%'".format(name)), complaint.(function))
		}
	}
}
