// By how many samples a model's output lags behind its input, at the server's sample rate; 0 where the slot is empty.
NeuralAmpLatency : UGen {
	*ir { |model| ^this.multiNew('scalar', NeuralAmpModel.prPlayable(this, model)) }

	*kr { |model| ^this.multiNew('control', NeuralAmpModel.prPlayable(this, model)) }
}
