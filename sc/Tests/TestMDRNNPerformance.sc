TestMDRNNPerformance : MDRNNModelTest {
	fetch { |performance, count| ^this.answer({ |action, onError| performance.fetch(count, action, onError) }) }

	frames { |count ... args|
		var performance = MDRNNPerformance(model, *args);
		this.assertEquals(this.fetch(performance, count), \done, "% frames".format(count));
		^performance.frames.asArray
	}

	test_same_each_time {
		var frames = this.frames(300, nil, 1, 0.1, 3), pieces = MDRNNPerformance(model, nil, 1, 0.1, 3);
		this.assert(frames.size >= 300 and: { frames.every { |frame| frame.size == 4 } }, "frames");
		this.assert(frames.every { |frame| frame[0] >= 0.001 and: { frame.drop(1).every(_.inclusivelyBetween(0, 1)) } },
			"time steps and values");
		[1, 2, 130, 300].do { |count| this.fetch(pieces, count) };
		this.assertEquals(pieces.frames.keep(300).asArray, frames.keep(300), "fetched in pieces");
		this.assert(this.frames(10, nil, 1, 0.1, 4).keep(10) != frames.keep(10), "another seed");
		this.assert(this.frames(10, nil, 1, 0.2, 3).keep(10) != frames.keep(10), "another temperature")
	}

	test_inputs {
		var high = this.frames(1, [[0.1, 0.9, 0.9, 0.9], [0.1, 0.9, 0.9, 0.9]], 1, 0.01, 3)[0];
		var low = this.frames(1, [0.1, 0.1, 0.1, 0.1], 1, 0.01, 3)[0];
		this.assert(high[1] > (low[1] + 0.3), "it goes on from what it has heard: % %".format(high, low))
	}

	test_at_fetches_ahead {
		var performance = MDRNNPerformance(model, seed: 1);
		this.assertEquals(performance.at(0), nil, "nothing yet");
		this.wait({ performance.at(0).notNil }, "the first comes", 5);
		this.wait({ performance.frames.size > MDRNNPerformance.ahead }, "and those after it", 5)
	}

	test_a_server_that_forgets_goes_on_where_it_was {
		var frames = this.frames(40, nil, 1, 0.1, 7), performance = MDRNNPerformance(model, nil, 1, 0.1, 7);
		this.fetch(performance, 20);
		this.answer({ |action, onError| model.replace(MDRNNModel.bundled, action, onError) });
		70.do { this.fetch(MDRNNPerformance(model), 1) };
		this.fetch(performance, 40);
		this.assertEquals(performance.frames.keep(40).asArray, frames.keep(40), "the same frames")
	}

	test_what_cannot_be {
		var fails = { |what, part ... args|
			var performance = MDRNNPerformance(model, *args), reason = this.fetch(performance, 3);
			this.assert(reason.asString.contains(part), "%: %".format(what, reason));
			this.assertEquals(performance.problem, reason, "it is kept")
		};
		this.assertException({ MDRNNPerformance(3) }, Error, "a number for a model");
		this.assertException({ MDRNNPerformance(model, [[0.1, "x"]]) }, Error, "a string for a number");
		fails.value("too short a frame", "dimension", [0.1, 0.5]);
		fails.value("a value out of range", "from 0 to 1", [0.1, 0.5, 2, 0.5]);
		fails.value("a temperature below 0", "sigmatemp", nil, 1, -1);
		fails.value("a pi temperature of 0", "pitemp", nil, 0);
		model.replace(folder +/+ "none.mdrnn");
		this.assertEquals(this.fetch(MDRNNPerformance(model), 3), \done, "a file that is not there changes nothing");
		server.sendMsg('/cmd', \mdrnn_free, model.slot);
		fails.value("an empty slot", "empty");
		model.free;
		fails.value("a freed model", "freed")
	}
}
