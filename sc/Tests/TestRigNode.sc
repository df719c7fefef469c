// Needs a running rig server, as TestRig does.
TestRigNode : UnitTest {
	var rig;

	setUp {
		rig = Rig(NetAddr("127.0.0.1", ("NEURIG_RIG_PORT".getenv ? 9001).asInteger));
		this.wait({ rig.isConnected and: { rig.isWaiting.not } }, "the server is there", 10)
	}

	tearDown {
		rig.nodes.do { |node| if(node.name.asString.beginsWith("t_")) { node.free } };
		this.settle
	}

	settle { this.wait({ rig.isWaiting.not }, "all is answered", 10) }

	amp { ^rig.amp("crunch.nam", [\gain, 6], \t_amp) }

	// what the server says
	get { |node, param|
		var value, condition = Condition.new;
		node.get(param, { |now| value = now; condition.unhang }, { condition.unhang });
		condition.hang;
		^value
	}

	test_params {
		var amp = this.amp;
		this.assert(amp.isKindOf(RigNode), "a node: %".format(amp));
		this.assertEquals([amp.name, amp.type, amp.isMade, amp.gain], [\t_amp, \amp, false, nil], "before the answer");
		this.assertEquals(amp.gain_(-6).out_(3), amp, "setting gives the node");
		amp.bypass = 1;
		this.settle;
		this.assertEquals([amp.isMade, amp.gain, amp.out, amp.bypass], [true, -6.0, 3.0, 1], "after it");
		this.assertEquals(amp.model, 'crunch.nam', "its model");
		this.assertEquals([this.get(amp, \gain), this.get(amp, \out)], [-6.0, 3.0], "so says the server");
		this.assertEquals(amp.params[\gain].atAll([\low, \high, \unit, \default]), [-60.0, 60.0, \dB, 0.0], "its range");
		amp.gain_(12, 50);
		this.settle;
		this.assertEquals(amp.gain, 12.0, "a ramp");
		this.assert(amp.respondsTo(\gain) and: { amp.respondsTo(\gian).not }, "it knows its params");
		amp.free;
		this.settle;
		this.assertEquals([rig[\t_amp], amp.isGone], [nil, true], "freed");
		this.assert(amp.problem.contains("freed"), "it says so: %".format(amp.problem));
		amp.gain_(3).free
	}

	test_params_that_all_objects_have {
		var room = rig.reverb(0.25, name: \t_room), gate = rig.gate(-40, [\release, 50], \t_gate);
		this.settle;
		this.assertEquals([room.size, gate.release, gate.threshold], [0.25, 50.0, -40.0], "size and release");
		room.size_(0.75);
		this.settle;
		this.assertEquals(room.size, 0.75, "set");
		this.assertEquals(gate.size, nil, "a gate has none")
	}

	test_chain_and_free {
		var guitar = rig.player("phrase.wav", name: \t_guitar), amp = this.amp, gain = rig.gain(-3, name: \t_gain), links;
		var list = { rig.list({ |listing| links = listing.connections.collect(_.keep(2)) }); this.settle; links };
		this.assertEquals(guitar >> amp >> gain, gain, "connecting gives the other node");
		this.assert([[\t_guitar, \t_amp], [\t_amp, \t_gain]].every { |link| list.value.includesEqual(link) },
			"links: %".format(links));
		amp.disconnect(gain);
		this.assertEquals(list.value.includesEqual([\t_amp, \t_gain]), false, "one less");
		rig.chain([guitar, amp, gain]);
		this.assertEquals(list.value.includesEqual([\t_amp, \t_gain]), true, "and again");
		rig.free(amp);
		this.assertEquals(list.value.any { |link| link.includes(\t_amp) }, false, "a node goes with its links")
	}

	test_another_one_of_the_same_name {
		var first = this.amp, second;
		first.free;
		second = rig.amp("crunch.nam", (gain: 9), \t_amp);
		first.gain_(-9);
		second.out_(3);
		this.settle;
		this.assert(second !== first and: { rig[\t_amp] === second }, "the name is the second one's at once");
		this.assertEquals([second.gain, second.out, second.isGone], [9.0, 3.0, false], "it is steered");
		this.assert(first.isGone and: { this.get(second, \gain) == 9.0 }, "the first one is not");
		rig.free(\t_nobody);
		this.settle;
		this.assertEquals(rig[\t_amp], second, "freeing what there is not changes nothing")
	}

	test_predictor {
		var amp = this.amp, hand = rig.predictor("wander.mdrnn", [\mode, \battle], \t_hand), gains = List.new, frame;
		hand.map(1, amp, \gain, -6, 12);
		hand.subscribe(\output, { |... values| frame = values });
		amp.subscribe(\gain, { |gain| gains.add(gain) });
		this.wait({ gains.size > 2 and: { frame.notNil } }, "it plays", 10);
		this.assert(gains.every(_.inclusivelyBetween(-6, 12)), "within the range: %".format(gains));
		this.assertEquals(frame.size, 3, "its values: %".format(frame));
		hand.unmap(1).mode_(\callresponse).input_([0.1, 0.5, 0.9]).reset;
		hand.unsubscribe(\output);
		amp.unsubscribe(\gain);
		this.settle;
		this.assertEquals(hand.mode, \callresponse, "its mode")
	}

	test_knobs_come_with_the_model {
		var path = PathName.tmp +/+ "neurig stereo " ++ 1e9.rand.asString ++ ".wav", cabinet, sound;
		sound = SoundFile.new.headerFormat_("WAV").sampleFormat_("float").numChannels_(2).sampleRate_(48000);
		sound.openWrite(path);
		sound.writeData(FloatArray[1, 0, 0, 1, 0, 0]);
		sound.close;
		cabinet = rig.ir(path, [\side, 1], \t_cabinet);
		this.settle;
		this.assertEquals(cabinet.side, 1.0, "a stereo response has a side");
		cabinet.file_("open-back.wav");
		this.settle;
		this.assertEquals(cabinet.side, nil, "a mono one has none");
		File.delete(path)
	}

	test_mistakes {
		var amp = this.amp, none = rig.amp("no such file.nam", name: \t_none), codes = List.new;
		var note = { |code, text| codes.add(code); this.assert(text.asString.size > 8, "why: %".format(text)) };
		amp.set(\gian, 3, nil, nil, note).set(\gain, 1000, nil, nil, note).set(\gain, "loud", nil, nil, note);
		amp.map(1, amp, \gain, nil, nil, nil, note);
		this.settle;
		this.assertEquals(codes.asArray.keep(3), [\unknown, \bad_value, \bad_value], "refused");
		this.assertEquals(codes.size, 4, "an amp maps nothing");
		this.assertEquals([none.isGone, rig[\t_none]], [true, nil], "one that was not made");
		this.assert(none.problem.contains("no such file"), "why: %".format(none.problem));
		this.assertEquals([amp.gain, amp.gian], [6.0, nil], "nothing has changed");
		this.assertException({ amp.gain(1, 2) }, Error, "what no param takes");
		this.assertException({ amp + 1 }, Error, "nor an operator")
	}

	test_nodes_by_name_and_from_a_preset {
		var node;
		rig.new(\t_one, \gain, [\gain, 3]);
		this.settle;
		this.assertEquals([rig[\t_one].gain, rig.nodes.includes(rig[\t_one])], [3.0, true], "made by its name");
		rig.save("t_nodes");
		rig[\t_one].free;
		rig.load("t_nodes");
		this.settle;
		node = rig[\t_one];
		this.assertEquals([node.gain, node.isMade, node.isGone], [3.0, true, false], "back with what was saved")
	}
}
