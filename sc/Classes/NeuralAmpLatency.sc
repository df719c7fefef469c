// By how many samples a model's output lags behind its input, at the server's sample rate; 0 where the slot is empty.
NeuralAmpLatency : UGen {
	*ir { |model| ^this.multiNew('scalar', this.prModel(model)) }

	*kr { |model| ^this.multiNew('control', this.prModel(model)) }

	*prModel { |model|
		if(model.isNil or: { model.isString }) {
			Error("NeuralAmpLatency: % is not a model. Read one first: m = NeuralAmpModel.read(s, path)"
				.format(model.asCompileString)).throw
		};
		^model
	}
}
