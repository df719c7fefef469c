TestMDRNNModel : NeurigModelTest {
	read {
		var model;
		this.assertEquals(this.answer({ |action, onError|
			model = MDRNNModel.read(server, MDRNNModel.bundled, action, onError)
		}), \done, "a model is read");
		^model
	}

	test_read_play_free {
		var model = this.read, bus = Bus.control(server, 5), synth, played;
		this.assertEquals(model.info, (loaded: true, path: MDRNNModel.bundled, dimension: 4, mixtures: 5, users: 0),
			"what the server tells about it");
		this.assertEquals(model.numValues, 3, "values");
		synth = { Out.kr(bus, MDRNN.kr(model, mode: \battle)) }.play(server);
		this.wait({ bus.getn(5, { |values| played = values }); server.sync; played.notNil and: { played[1] > 0 } },
			"it plays", 10);
		this.assert(played[2..].every { |value| value > 0 and: { value < 1 } }, "values: %".format(played));
		this.answer({ |action, onError| model.query(action, onError) });
		this.assertEquals(model.info.users, 1, "its user is counted");
		this.assert(this.answer({ |action, onError| model.replace(folder +/+ "nothing.mdrnn", action, onError) }).isString,
			"a missing file's reason");
		model.free;
		synth.free;
		bus.free;
		this.assertException({ model.replace("x") }, Error, "a freed model can't be used");
	}

	test_an_amp_is_refused {
		var model, reason = this.answer({ |action, onError|
			model = MDRNNModel.read(server, NeuralAmpModel.bundled, action, onError)
		});
		this.assert(reason.contains("an amp, not a predictor"), "an amp: %".format(reason));
		model.free;
	}

	test_without_a_path_it_is_a_bundled_one {
		var model;
		this.answer({ |action, onError| model = MDRNNModel.read(server, nil, action, onError) });
		this.assertEquals(model.path, MDRNNModel.bundled, "its path");
		this.assertException({ model.replace }, Error, "what takes its place has to be named");
		model.free;
	}

	test_what_is_typed_in_haste {
		var predictor = this.read, amp, complaint = { |function|
			try { function.value; "none" } { |error| error.errorString }
		};
		this.answer({ |action, onError| amp = NeuralAmpModel.read(server, nil, action, onError) });
		[
			{ MDRNNModel.read("wander.mdrnn") }, "wander.mdrnn is no Server",
			{ { MDRNN.kr(amp, 3) }.asSynthDef }, "is no MDRNNModel",
			{ { MDRNN.kr(nil, 3) }.asSynthDef }, "MDRNNModel.read(s, path)",
			{ { NeuralAmp.ar(DC.ar, predictor) }.asSynthDef }, "is no NeuralAmpModel",
			{ { NeuralAmp.ar(DC.ar, "a b.nam") }.asSynthDef }, "NeuralAmpModel.read(s, \"a b.nam\")"
		].pairsDo { |function, said|
			this.assert(complaint.(function).contains(said), complaint.(function))
		};
		[predictor, amp].do(_.free)
	}

	test_slots_of_each_kind_are_counted_for_themselves {
		var predictor = this.read, amp;
		this.answer({ |action, onError| amp = NeuralAmpModel.read(server, NeuralAmpModel.bundled, action, onError) });
		[predictor, amp].do { |model|
			this.answer({ |action, onError| model.query(action, onError) });
			this.assert(model.info.loaded and: { model.info.path == model.class.bundled }, "%".format(model));
			model.free
		}
	}

	test_record {
		var model = this.read, synth, path, rows, times, lines = { File.readAllString(path).split($\n).drop(-1) };
		this.assertException({ model.record(folder +/+ "no" +/+ "such.log") }, Error, "a folder that there is not");
		path = model.record(folder);
		this.assert("[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(-[0-9]{2}){2}-4d-mdrnn\\.log$".matchRegexp(path),
			"its name: %".format(path));
		synth = { MDRNN.kr(model, LFNoise0.kr(20 ! 3).range(0, 1), Impulse.kr(20), \filter); Silent.ar }.play(server);
		this.wait({ lines.value.size >= 20 }, "lines are written", 10);
		model.stopRecording;
		this.assertEquals(model.isRecording, false, "it has ended");
		rows = lines.value.collect { |line| line.split($,) };
		this.assertEquals(rows.collect { |row| row[1] }.keep(20), ["interface", "rnn"].wrapExtend(20), "who played");
		this.assert(rows.every { |row| row.size == 5 and: { row.drop(2).every { |x| x.asFloat.inclusivelyBetween(0, 1) } } },
			"values: %".format(rows[0]));
		times = rows.select { |row| row[1] == "interface" }.collect { |row| row[0].drop(17).asFloat };
		times = times.differentiate.drop(1).collect { |step| step % 60 };
		this.assert(times.every { |step| step.absdif(0.05) < 0.0015 }, "time steps: %".format(times));
		synth.free;
		model.record(path);
		model.free;
		this.assertEquals(model.isRecording, false, "freeing it ends a recording");
		this.assertEquals(lines.value.size, rows.size, "and leaves the file as it was");
	}
}
