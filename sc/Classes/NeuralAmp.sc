// A neural amp: the unit generator. The model it plays is a NeuralAmpModel, or the number of its slot.
NeuralAmp : UGen {
	classvar <levels = #[\raw, \normalised, \calibrated];

	*ar { |in, model, gain = 0, out = 0, bypass = 0, params = #[], level = 0, dbu = 12, slim = 1, mul = 1, add = 0|
		model = NeuralAmpModel.prPlayable(this, model);
		^this.multiNewList(['audio', in, model, gain, out, bypass, this.prLevel(level), dbu, slim] ++ params)
			.madd(mul, add)
	}

	// the number of a level given by name
	*prLevel { |level|
		if(level.isKindOf(Symbol).not) { ^level };
		^levels.indexOf(level) ?? {
			Error("NeuralAmp: the level is %, but has to be one of %".format(level, levels.join(", "))).throw
		}
	}

	argNameForInputAt { |i| ^#[\in, \model, \gain, \out, \bypass, \level, \dbu, \slim][i] ? \params }

	checkInputs {
		if(inputs[0].rate != 'audio') {
			^"the input is at % rate and has to be at audio rate (K2A.ar converts a control signal)"
				.format(inputs[0].rate)
		};
		^this.checkValidInputs
	}
}
