TestPmdrnn : MDRNNModelTest {
	fetched { |pattern, count = 50|
		this.assertEquals(this.answer({ |action, onError| pattern.fetch(count, action, onError) }), \done, "fetched");
		^pattern
	}

	test_events {
		var pattern = this.fetched(Pmdrnn(model, sigmaTemp: 0.1, length: 20, seed: 3)), frames, events;
		var performance = MDRNNPerformance(model, sigmaTemp: 0.1, seed: 3);
		this.answer({ |action, onError| performance.fetch(20, action, onError) });
		frames = performance.frames.keep(20).asArray;
		events = pattern.asStream.nextN(21, ());
		this.assertEquals(events[20], nil, "so many as were asked for");
		this.assertEquals(events.keep(20).collect { |event| event.atAll([\dur, \x1, \x2, \x3]) }, frames,
			"time steps and values");
		this.assertEquals(pattern.asStream.nextN(20, ()), events.keep(20), "a seed: the same again")
	}

	test_keys_and_timescale {
		var slow = this.fetched(Pmdrnn(model, timescale: Pseq([2, 4], inf), seed: 3, keys: [\pan, \cutoff])).asStream;
		var plain = this.fetched(Pmdrnn(model, seed: 3)).asStream.nextN(4, ()), events = slow.nextN(4, ());
		this.assertEquals(events.collect(_[\dur]), plain.collect(_[\dur]) * [2, 4, 2, 4], "steps are stretched");
		this.assertEquals(events.collect { |event| event.atAll([\pan, \cutoff, \x3]) },
			plain.collect { |event| event.atAll([\x1, \x2, \x3]) }, "values have names")
	}

	test_chained {
		var stream = (Pbind(\freq, Pkey(\x1) * 1000) <> this.fetched(Pmdrnn(model, seed: 3))).asStream, event;
		event = stream.next(());
		this.assertEquals(event[\freq], event[\x1] * 1000, "what a Pbind makes of it");
		this.assert(event[\dur] > 0, "its time step")
	}

	test_chance {
		var pattern = this.fetched(Pmdrnn(model, sigmaTemp: 0.5)), first = pattern.asStream, second = pattern.asStream;
		var event;
		first = first.next(());
		this.wait({ event = second.next(()); event[\type] != \rest }, "a second stream, fetched for itself", 5);
		this.assert(event[\x1] != first[\x1], "plays something else")
	}

	test_played {
		var notes = List.new, player, pattern = Pmdrnn(model, length: 12, seed: 3, timescale: 0.5);
		player = (Pbind(\play, { if(currentEnvironment.isRest.not) { notes.add(~x1) } }) <> pattern).play;
		this.wait({ notes.size == 12 }, "all are played", 10);
		this.wait({ player.isPlaying.not }, "then it ends", 5);
		this.assertEquals(notes.asArray, this.fetched(pattern).asStream.nextN(12, ()).collect(_[\x1]), "in their order")
	}

	test_rest_until_the_first_comes {
		var rest = (Pbind(\freq, Pkey(\x1).linexp(0, 1, 100, 400)) <> Pmdrnn(model)).asStream.next(());
		this.assert(rest.isRest, "a rest: %".format(rest));
		this.assertFloatEquals(rest[\freq], 200, "with values", 1e-3);
		this.assertFloatEquals(rest.delta, 0.05, "a short one")
	}

	test_a_freed_model_ends_it {
		var stream, player = Pmdrnn(model, timescale: 0.1).play;
		model.free;
		this.wait({ player.isPlaying.not }, "one that plays", 10);
		stream = Pmdrnn(model).asStream;
		this.wait({ stream.next(()).isNil }, "one that begins", 5);
		this.assert(player.isPlaying.not and: { stream.next(()).isNil }, "both have ended")
	}

	test_score {
		var score = this.fetched(Pmdrnn(model, seed: 3)).asScore(2);
		this.assert(score.score.count { |line| line[1][0].asString == "s_new" or: { line[1][0] == 9 } } > 10,
			"notes: %".format(score.score.size))
	}

	test_wrong_arguments {
		this.assertException({ Pmdrnn("wander.mdrnn") }, Error, "a path");
		this.assertException({ Pmdrnn() }, Error, "nothing")
	}
}
