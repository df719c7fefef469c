TestNeuralAmpLatency : NeurigModelTest {
	write { |rate|
		var path = folder +/+ rate ++ ".nam";
		File.use(path, "w", { |file|
			file.write("{\"architecture\": \"Linear\", \"sample_rate\": %, \"config\": {\"receptive_field\": 1, "
				"\"bias\": false}, \"weights\": [1]}".format(rate))
		});
		^path
	}

	read { |path|
		var model;
		this.assertEquals(this.answer({ |action, onError| model = NeuralAmpModel.read(server, path, action, onError) }),
			\done, "a model is read");
		^model
	}

	test_latency {
		var same = this.read(this.write(server.sampleRate.asInteger)), other = this.read(this.write(32000));
		var bus = Bus.control(server, 4), synth, values, expect;
		expect = { |expected, what|
			this.wait({ bus.getn(4, { |now| values = now }); server.sync; values == expected }, what, 5);
			this.assertEquals(values, expected, what)
		};
		this.assertEquals(same.latency, 0, "none at the server's rate");
		this.assert(other.latency > 0, "some at another: %".format(other.latency));
		synth = { Out.kr(bus, NeuralAmpLatency.ir([same, other]) ++ NeuralAmpLatency.kr([other, 1023])) }.play(server);
		expect.value([0, other.latency, other.latency, 0].collect(_.asFloat), "of each model, and of an empty slot");
		this.answer({ |action, onError| other.replace(same.path, action, onError) });
		this.assertEquals(other.latency, 0, "replaced");
		expect.value([0.0, values[1], 0.0, 0.0], "kr follows, ir stays");
		synth.free;
		[same, other].do(_.free);
		bus.setn(0 ! 4).free
	}

	test_wrong_arguments {
		var predictor;
		this.answer({ |action, onError| predictor = MDRNNModel.read(server, nil, action, onError) });
		this.assertException({ { NeuralAmpLatency.ir(predictor) }.asSynthDef }, Error, "a predictor's");
		predictor.free;
		this.assertException({ { NeuralAmpLatency.ir }.asSynthDef }, Error, "no model");
		this.assertException({ { NeuralAmpLatency.kr("crunch.nam") }.asSynthDef }, Error, "a path")
	}
}
