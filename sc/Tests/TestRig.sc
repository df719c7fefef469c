// Needs a running rig server: neurig serve. Where it does not listen on port 9001, NEURIG_RIG_PORT says where.
TestRig : UnitTest {
	var rig;

	setUp { rig = Rig(NetAddr("127.0.0.1", ("NEURIG_RIG_PORT".getenv ? 9001).asInteger)) }

	// waits for action or onError; gives what came: [\done, …] or [\error, code, text]
	answer { |request|
		var condition = Condition.new, answer;
		request.value(
			{ |... values| answer = [\done] ++ values; condition.unhang },
			{ |code, text| answer = [\error, code, text]; condition.unhang }
		);
		answer ?? { condition.hang };
		^answer
	}

	succeeds { |what, request|
		var answer = this.answer(request);
		this.assertEquals(answer[0], \done, "% : %".format(what, answer));
		^answer.drop(1)
	}

	fails { |what, code, request|
		var answer = this.answer(request);
		this.assertEquals(answer.keep(2), [\error, code], "% : %".format(what, answer));
		this.assert(answer[2].asString.size > 8, "it says why: %".format(answer[2]))
	}

	// makes a player, an amp and a gain in a chain; frees them at the end
	inRig { |function|
		this.succeeds("a player", { |action, onError|
			rig.new(\t_guitar, \player, [\file, NeuralAmpModel.bundled("phrase.wav")], action, onError) });
		this.succeeds("an amp", { |action, onError|
			rig.new(\t_amp, \amp, [\model, NeuralAmpModel.bundled("crunch.nam"), \gain, 6], action, onError) });
		this.succeeds("a gain", { |action, onError| rig.new(\t_gain, \gain, nil, action, onError) });
		this.succeeds("chained", { |action, onError| rig.chain([\t_guitar, \t_amp, \t_gain], action, onError) });
		function.value;
		[\t_guitar, \t_amp, \t_gain].do { |name|
			this.succeeds("freed", { |action, onError| rig.free(name, action, onError) })
		}
	}

	test_ping {
		var version = this.succeeds("ping", { |action, onError| rig.ping(action, onError) });
		this.assert("^[0-9]+\\.[0-9]+".matchRegexp(version[0].asString), "its version: %".format(version))
	}

	test_types {
		var types = this.succeeds("types", { |action, onError| rig.types(action, onError) })[0];
		this.assert([\player, \amp, \ir, \delay, \output, \predictor].every { |type| types.includes(type) },
			"types: %".format(types))
	}

	test_a_method_for_each_type {
		var types = this.succeeds("types", { |action, onError| rig.types(action, onError) })[0];
		types.do { |type| this.assert(Rig.findMethod(type).notNil, "Rig makes %".format(type)) }
	}

	test_build {
		this.inRig {
			var listing = this.succeeds("list", { |action, onError| rig.list(action, onError) })[0], param;
			this.assert(listing.nodes.includesEqual([\t_amp, \amp]), "nodes: %".format(listing.nodes));
			this.assert(listing.connections.collect(_.keep(2)).includesEqual([\t_guitar, \t_amp]),
				"connections: %".format(listing.connections));
			this.assertEquals(this.succeeds("get", { |action, onError| rig.get(\t_amp, \gain, action, onError) }),
				[6.0], "what it was made with");
			this.succeeds("set", { |action, onError| rig.set(\t_amp, \gain, -3, nil, action, onError) });
			this.assertEquals(this.succeeds("get", { |action, onError| rig.get(\t_amp, \gain, action, onError) }),
				[-3.0], "what was set");
			param = this.succeeds("params", { |action, onError| rig.params(\t_amp, action, onError) })[0]
				.detect { |param| param.name == \gain };
			this.assertEquals([param.unit, param.current, param[\default]], [\dB, -3.0, 0.0], "a param: %".format(param));
			this.succeeds("ramp", { |action, onError| rig.set(\t_amp, \gain, 3, 50, action, onError) });
			this.succeeds("disconnect", { |action, onError| rig.disconnect(\t_amp, \t_gain, action, onError) });
			this.succeeds("connect", { |action, onError| rig.connect(\t_amp, \t_gain, nil, action, onError) });
			this.succeeds("save", { |action, onError| rig.save("t_rig", action, onError) });
			this.assert(this.succeeds("states", { |action, onError| rig.states(action, onError) })[0].includes(\t_rig),
				"it is among what was saved");
			this.succeeds("set", { |action, onError| rig.set(\t_amp, \gain, 12, nil, action, onError) });
			this.succeeds("load", { |action, onError| rig.load("t_rig", nil, action, onError) });
			this.assertEquals(this.succeeds("get", { |action, onError| rig.get(\t_amp, \gain, action, onError) }),
				[3.0], "what was saved")
		}
	}

	test_predictor {
		this.inRig {
			var listing, values = List.new;
			this.succeeds("a predictor", { |action, onError| rig.new(\t_hands, \predictor,
				[\model, NeuralAmpModel.bundled("wander.mdrnn"), \mode, \battle, \seed, 3], action, onError) });
			this.succeeds("map", { |action, onError| rig.map(\t_hands, 1, "t_amp/gain", -6, 12, action, onError) });
			listing = this.succeeds("list", { |action, onError| rig.list(action, onError) })[0];
			this.assert(listing.maps.any { |map| map.keep(3) == [\t_hands, 1, '/rig/t_amp/gain'] },
				"maps: %".format(listing.maps));
			rig.subscribe(\t_amp, \gain, { |value| values.add(value) });
			this.wait({ values.size > 3 }, "the predictor moves the amp's gain", 10);
			this.assert(values.every { |value| value.inclusivelyBetween(-6, 12) }, "within its range: %".format(values));
			this.succeeds("unsubscribe", { |action, onError| rig.unsubscribe(\t_amp, \gain, action, onError) });
			this.succeeds("unmap", { |action, onError| rig.unmap(\t_hands, 1, action, onError) });
			this.succeeds("input", { |action, onError|
				rig.set(\t_hands, \input, [0.1, 0.5, 0.9], nil, action, onError) });
			this.succeeds("freed", { |action, onError| rig.free(\t_hands, action, onError) })
		}
	}

	test_mistakes {
		this.inRig {
			this.fails("a type that there is not", \unknown, { |action, onError|
				rig.new(\t_x, \ampp, nil, action, onError) });
			this.fails("a name that is taken", \exists, { |action, onError|
				rig.new(\t_amp, \amp, nil, action, onError) });
			this.fails("a node that there is not", \not_found, { |action, onError|
				rig.set(\t_nobody, \gain, 3, nil, action, onError) });
			this.fails("a param that there is not", \unknown, { |action, onError|
				rig.set(\t_amp, \gian, 3, nil, action, onError) });
			this.fails("a value out of range", \bad_value, { |action, onError|
				rig.set(\t_amp, \gain, 1000, nil, action, onError) });
			this.fails("a word for a number", \bad_value, { |action, onError|
				rig.set(\t_amp, \gain, "loud", nil, action, onError) });
			this.fails("a file that there is not", \bad_file, { |action, onError|
				rig.set(\t_amp, \model, "/nowhere/no.nam", nil, action, onError) });
			this.assertEquals(this.succeeds("get", { |action, onError| rig.get(\t_amp, \model, action, onError) }),
				[NeuralAmpModel.bundled("crunch.nam").asSymbol], "the model is still the old one")
		}
	}

	test_many_at_once {
		var answers = 0, failures = 0;
		this.inRig {
			100.do { |i| rig.set(\t_gain, \gain, i.neg / 10, nil, { answers = answers + 1 }) };
			100.do { rig.set(\t_gain, \gian, 0, nil, nil, { failures = failures + 1 }) };
			this.wait({ answers + failures == 200 }, "200 requests are answered", 10);
			this.assertEquals([answers, failures], [100, 100], "each as it should be")
		}
	}

	// with a server of its own, which has no sound card
	test_boot {
		var port = ("NEURIG_BOOT_PORT".getenv ? 9002).asInteger, options = ["--backend", "clock"];
		var booted, amp, values, comes = 0;
		var boot = { |action, onError| booted = Rig.boot(nil, port, options, action, onError) };
		this.assertEquals(Rig.boot(nil, port, options ++ ["--nonsense"], onError: { |code| values = code }).isWaiting, true,
			"it starts");
		this.wait({ values.notNil }, "one with a wrong option ends", 20);
		this.assertEquals(values, \failed, "and fails");
		this.succeeds("boot", boot);
		booted.onConnect = { comes = comes + 1 };
		amp = booted.amp("crunch.nam").gain_(3);
		booted.subscribe(amp, \gain, { |gain| values = gain });
		this.wait({ booted.isWaiting.not }, "it answers", 5);
		this.assertEquals([amp.name, amp.gain], [\amp, 3.0], "a node");
		this.succeeds("booted again, the one that runs", boot);
		this.succeeds("quit", { |action, onError| booted.quit(action, onError) });
		this.assertEquals([booted.isConnected, amp.isGone, booted.nodes], [false, true, []], "nothing is left");
		boot.value;
		amp = booted.amp("crunch.nam").gain_(9);
		this.wait({ booted.isConnected and: { booted.isWaiting.not } }, "it is back, with what was asked for meanwhile", 20);
		this.wait({ amp.gain == 9.0 }, "the node", 5);
		this.assertEquals([amp.name, comes], [\amp, 1], "named as before; it was noticed");
		this.succeeds("quit", { |action, onError| booted.quit(action, onError) });
		booted.close
	}

	test_command {
		var before = Rig.program, text, port = 57007;
		this.assert(Rig.command.isString and: { File.exists(Rig.command) }, "it is found: %".format(Rig.command));
		Rig.program = "~/no such neurig";
		this.assertEquals(Rig.command, "~/no such neurig".standardizePath, "where it is said to be");
		Rig.boot(nil, port, onError: { |code, reason| text = reason });
		this.wait({ text.notNil }, "it is not there", 5);
		this.assert(text.contains("no such neurig") and: { text.contains("Rig.program") }, "why: %".format(text));
		Rig.program = before;
		Rig(NetAddr("127.0.0.1", port)).close;
		this.assertException({ Rig(NetAddr("192.168.1.20", 9001)).boot }, Error, "not on another machine");
		Rig(NetAddr("192.168.1.20", 9001)).close
	}

	test_paths_of_another_machine_are_left_as_they_are {
		var far = Rig(NetAddr("192.168.1.20", 9001));
		this.assertEquals([far.prPath("~/a.nam"), far.prPath("a.nam")], ["~/a.nam", "a.nam"], "they are its own");
		this.assertEquals(rig.prPath("~/a.nam"), "~/a.nam".standardizePath, "those of this machine are made whole");
		far.close
	}

	test_nobody_answers {
		var alone = Rig(NetAddr("127.0.0.1", 57008)).timeout_(0.2), answer;
		answer = this.answer({ |action, onError| alone.ping(action, onError) });
		this.assertEquals(answer.keep(2), [\error, \timeout], "nobody answers");
		this.assert(answer[2].contains("neurig serve"), "what to do: %".format(answer[2]));
		alone.close
	}

	test_one_for_each_address {
		this.assert(rig === Rig(NetAddr(rig.addr.hostname, rig.addr.port)), "the same address, the same Rig")
	}

	test_what_cannot_be_meant {
		this.assertException({ Rig("localhost") }, Error, "an address that is a String");
		this.assertException({ rig.chain(\t_a, \t_b) }, Error, "a chain that is no array");
		this.assertException({ rig.set(\t_amp) }, Error, "no param");
		this.assertException({ rig.set(\t_amp, \gain) }, Error, "no value");
		this.assertException({ rig.new(\t_amp, nil) }, Error, "no type");
		this.assertException({ rig.new(\t_amp, \amp, [\gain]) }, Error, "a param without a value");
		this.assertException({ rig.new(\t_amp, \amp, [\gain, { 3 }]) }, Error, "a function for a value");
		this.assertException({ rig.map(\t_hands, 1, \gain) }, Error, "an address without a node");
		this.assertException({ rig.set(\t_amp, "gain/x", 3) }, Error, "an address that goes too far")
	}
}
