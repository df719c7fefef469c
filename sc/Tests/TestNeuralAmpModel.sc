TestNeuralAmpModel : NeurigModelTest {
	// an amp that only scales its input
	write { |factor, name = "amp"|
		var path = folder +/+ name ++ ".nam";
		File.use(path, "w", { |file|
			file.write("{\"version\": \"0.5.4\", \"architecture\": \"Linear\", \"sample_rate\": 48000, "
				"\"config\": {\"receptive_field\": 1, \"bias\": false}, \"weights\": [%]}".format(factor))
		});
		^path
	}

	// the unit's output for an input of 1
	play { |model, function|
		var bus = Bus.control(server, 1), synth;
		synth = { Out.kr(bus, A2K.kr(NeuralAmp.ar(DC.ar(1), model))) }.play(server);
		function.value({ |expected, what|
			var value, end = Main.elapsedTime + 5;
			while { bus.get { |now| value = now }; server.sync; (value.absdif(expected) > 1e-5)
				and: { Main.elapsedTime < end } } { 0.02.wait };
			this.assertFloatEquals(value, expected, what, 1e-5)
		});
		synth.free;
		bus.free
	}

	test_read_replace_free {
		var half = this.write(0.5, \half), quarter = this.write(0.25, \quarter), model, reason;
		this.assertEquals(this.answer({ |action, onError| model = NeuralAmpModel.read(server, half, action, onError) }),
			\done, "a model is read");
		this.assertEquals(model.path, half, "its path");
		this.assertEquals(model.info, (loaded: true, path: half, rate: 48000.0, latency: 0, params: [], users: 0),
			"what the server tells about it");
		this.play(model, { |check|
			check.value(0.5, "it plays");
			this.answer({ |action, onError| model.replace(quarter, action, onError) });
			this.assertEquals(model.info.users, 1, "its user is counted");
			check.value(0.25, "the unit that plays it has the new one");
			reason = this.answer({ |action, onError| model.replace(folder +/+ "nothing.nam", action, onError) });
			this.assert(reason.isString and: { reason.size > 5 }, "a missing file's reason: %".format(reason));
			this.assertEquals(model.path, quarter, "the path of what goes on playing");
			check.value(0.25, "the unit goes on with what it had");
			model.free;
			check.value(0, "a freed model falls silent");
		});
		this.assertException({ model.replace(half) }, Error, "a freed model can't be used");
	}

	test_reasons {
		var broken = folder +/+ "broken.nam", model, reason;
		File.use(broken, "w", { |file| file.write("{\"architecture\": \"Tube\"}") });
		reason = this.answer({ |action, onError| model = NeuralAmpModel.read(server, broken, action, onError) });
		this.assert(reason.asString.contains("Tube"), "a wrong architecture's reason names it: %".format(reason));
		this.assertEquals(model.info, nil, "nothing is known of a model that could not be read");
		this.answer({ |action, onError| model.query(action, onError) });
		this.assertEquals(model.info.loaded, false, "its slot is empty");
		model.free;
	}

	test_slots {
		var path = this.write(1), done = 0, read, models, slot;
		read = { NeuralAmpModel.read(server, path, { done = done + 1 }) };
		models = read ! 30;
		this.wait({ done == 30 }, "all of 30 readings at once are answered", 10);
		this.assertEquals(models.collect(_.slot).as(Set).size, 30, "models have slots of their own");
		slot = models[10].slot;
		models[10].free;
		models[10] = read.value;
		this.assertEquals(models[10].slot, slot, "a freed slot is used again");
		this.wait({ done == 31 }, "it is read into", 10);
		models.do(_.free);
	}

	test_server_not_running {
		var away = Server(\away, NetAddr("127.0.0.1", 57009)), reason, models;
		reason = this.answer({ |action, onError| NeuralAmpModel.read(away, this.write(1), action, onError) });
		this.assert(reason.contains("not running"), "a server that does not run: %".format(reason));
		models = { NeuralAmpModel.read(away, folder +/+ "none.nam") } ! 3;
		this.assertEquals(models.collect(_.slot).as(Set).size, 3, "slots of their own, from the first on");
		away.remove;
	}
}
