// A predictor of gestures: the unit generator, a session of player and network. The model that it plays is an
// MDRNNModel, or the number of its slot.
MDRNN : MultiOutUGen {
	classvar <modes = #[\callresponse, \polyphony, \battle, \useronly, \filter];

	// in: an array with the player's values, or their number where there is no player
	*kr { |model, in, trig, mode = \callresponse, threshold = 0.1, timescale = 1, piTemp = 1, sigmaTemp = 0.01, mix = 1,
		run = 1, seed = 0, reset = 0|
		model = MDRNNModel.prPlayable(this, model);
		in = in ?? { model.tryPerform(\numValues) } ?? {
			Error("MDRNN: how many values? Give an array of the player's, or their number").throw
		};
		if(in.isNumber) {
			in = 0 ! in.asInteger;
			trig = trig ? 0
		} {
			in = in.asArray;
			trig = trig ?? { in.flat.select { |value| value.tryPerform(\rate) == 'control' }.collect { |value| Changed.kr(value) }.sum }
		};
		^this.multiNewList(['control', model, this.modeNumber(mode), threshold, timescale, piTemp, sigmaTemp, mix, run, seed,
			reset, trig] ++ in)
	}

	// a mode's name as the number that the unit takes
	*modeNumber { |mode|
		if(mode.isKindOf(Symbol).not and: { mode.isString.not }) { ^mode };
		^modes.indexOf(mode.asSymbol) ?? {
			Error("MDRNN: there is no mode %, but %".format(mode, modes.join(", "))).throw
		}
	}

	init { |... args|
		inputs = args;
		^this.initOutputs(inputs.size - 11 + 2, 'control')
	}

	argNameForInputAt { |i|
		^#[\model, \mode, \threshold, \timescale, \piTemp, \sigmaTemp, \mix, \run, \seed, \reset, \trig][i] ? \in
	}

	checkInputs {
		^this.checkValidInputs ?? {
			inputs.detectIndex { |input| input.rate == 'audio' } !? { |i|
				"arg: '%' is at audio rate (A2K.kr converts a signal)".format(this.argNameForInputAt(i))
			}
		}
	}
}
